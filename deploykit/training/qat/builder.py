"""Builds the tf_keras model that is trained with the rounding of int8 in it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deploykit.core.extras import require
from deploykit.surgery.channels.keras_graph import Flat, Step
from deploykit.training import bridge_layers
from deploykit.training.qat import quantizers
from deploykit.training.qat.kept import Kept

#: Layers that do nothing in inference: noise would widen the ranges that are measured while training.
_NOISE = frozenset(
    {"Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianNoise", "GaussianDropout",
     "AlphaDropout", "ActivityRegularization"}
)  # fmt: skip
#: Layers with a kernel that TF-MOT knows, and where it is; a separable convolution becomes two of them.
_KERNELS = {
    "Conv2D": "kernel", "Conv2DTranspose": "kernel", "Dense": "kernel", "DepthwiseConv2D": "depthwise_kernel",
}  # fmt: skip
#: Activations inside of a layer that TF-MOT rounds before, or that are computed with what is before.
_KNOWN = frozenset({"linear", "relu", "softmax", "sigmoid", "tanh", "gelu"})
#: Those of them that TF-MOT gives a range as a layer of their own.
_RANGED = frozenset({"relu", "relu6", "swish", "gelu"})
#: Layers whose result a ReLU behind them is computed with.
_FUSING = frozenset({"Add", "Conv2D", "Conv2DTranspose", "Dense", "DepthwiseConv2D", "SeparableConv2D"})
#: The bridge gives no layer a name with this sign, so that names of further layers are free.
_SIGN = ">"
_PREFIX = f"quantized{_SIGN}"


@dataclass(frozen=True)
class Kernel:
    """A kernel that is trained with rounding.

    Attributes:
        layer: Name of the Keras layer.
        variable: The variable.
        wrapper: TF-MOT's wrapper around its layer.
        kept: What of its values is kept; None when all of them may change.
    """

    layer: str
    variable: Any
    wrapper: Any
    kept: Kept | None


class Quantizing:
    """Replaces layers while `deploykit.training.bridge.to_tf_keras` builds a model.

    Args:
        flat: The Keras model, whose batch normalizations have been absorbed.
        absorbed: Layer → the batch normalization behind it that has been multiplied into it.
        keeps: Whether zeros are kept, and whether shared values are.
        left: Layers that stay float, by their ids.
        rounds: False builds the same layers without rounding, to compare the copy with the original.

    Attributes:
        kernels: What is trained with rounding.
        untrained: Layers that TF-MOT does not know, by name, with their class.
        units: What was changed: ``[name, class, number of weights]``.
    """

    def __init__(
        self, flat: Flat, absorbed: Mapping[str, str], *, keeps: tuple[bool, bool] = (True, True),
        left: Collection[int] = (), rounds: bool = True,
    ) -> None:  # fmt: skip
        self._norms = {id(flat.layers[name]): flat.layers[norm] for name, norm in absorbed.items()}
        self._gone = {id(norm) for norm in self._norms.values()}
        self._fused = _fused(flat, self._gone)
        self._keeps, self._left, self._rounds = keeps, left, rounds
        self._integer: dict[int, Any] = {}
        self._plain: dict[int, Any] = {}
        self._entries: dict[int, Any] = {}
        self.kernels: list[Kernel] = []
        self.quantized: list[Any] = []
        self.untrained: dict[str, str] = {}
        self.units: list[list[Any]] = []
        if rounds:
            self._registry = quantizers.module("default_8bit.default_8bit_quantize_registry")
            self._known = self._registry.Default8BitQuantizeRegistry()

    def wrap(self, layer: Any, twin: Any, outputs: Any) -> Any:
        """What takes the place of a twin: layers that compute the same, with rounding."""
        del outputs
        kind = type(twin).__name__
        if id(layer) in self._gone or kind in _NOISE or kind.startswith("Random"):
            return _unchanged
        if kind in _KERNELS or kind == "SeparableConv2D":
            return self._with_kernel(layer, twin)
        if kind == "Activation":
            twin.activation = _renamed(twin.activation)
        if id(layer) in self._left:
            return twin
        known = not self._rounds or self._known.supports(twin)
        if kind == "Activation":
            known = _name(twin.activation) in _KNOWN | _RANGED
        if not known:
            return self._float(layer, twin)
        return self._without_kernel(layer, twin)

    def _float(self, layer: Any, twin: Any) -> Any:
        if type(twin).__name__ == "BatchNormalization":
            twin.trainable = False  # its statistics stay as they are
        if type(twin).__name__ != "InputLayer":
            self.untrained[layer.name] = type(layer).__name__
        return twin

    def _without_kernel(self, layer: Any, twin: Any) -> Any:
        if not self._rounds:
            return twin
        config = self._known.get_quantize_config(twin)
        if not config.get_output_quantizers(twin):

            def passed(given: Any, **kwargs: Any) -> Any:
                found = twin(given, **kwargs)
                same = type(twin).__name__ != "Softmax" and _name(getattr(twin, "activation", None)) in {"", "linear"}
                if same and all(id(x) in self._integer for x in _flat(given)):
                    self._mark(found)
                return found

            return passed
        if id(layer) in self._fused:
            config = quantizers.module("default_8bit.default_8bit_quantize_configs").NoOpQuantizeConfig()

        made: list[Any] = []  # a layer that is called several times is one

        def called(given: Any, **kwargs: Any) -> Any:
            if not isinstance(given, list | tuple) and id(given) in self._plain:
                return twin(given, **kwargs)  # a ReLU that is computed with a layer in float
            made[:] = made or [self._wrapper(twin, config)]
            return self._called(made)(given, **kwargs)

        return called

    def _with_kernel(self, layer: Any, twin: Any) -> Any:
        chain = self._chain(layer, twin)
        if id(layer) in self._left:
            return self._unrounded(chain, fused=id(layer) in self._fused)
        last, behind = chain[-1], _apart(chain[-1], f"{twin.name}{_SIGN}activation")
        for one in chain:
            one.trainable = True
        self.units.append([layer.name, type(layer).__name__, sum(_weights(one) for one in chain)])
        if not self._rounds:
            return self._called([*chain, *behind])
        fused = id(layer) in self._fused or any(type(one).__name__ == "ReLU" for one in behind)
        made = [self._kernel(layer, one, fused=fused and one is last) for one in chain]
        integer = True
        for one in behind:
            integer = type(one).__name__ == "ReLU" or _name(one.activation) in _RANGED
            made.append(self._wrapper(one, self._known.get_quantize_config(one)) if integer else one)
        return self._called(made, integer=integer)

    def _unrounded(self, chain: Sequence[Any], *, fused: bool) -> Callable[..., Any]:
        """Calls layers that stay float; a ReLU that is computed with them does as well."""

        def call(given: Any, **kwargs: Any) -> Any:
            found = given
            for number, layer in enumerate(chain):
                found = layer(found, **({} if number else kwargs))
            if fused:
                self._plain[id(found)] = found
            return found

        for one in chain:
            one.trainable = True
        return call

    def _kernel(self, layer: Any, one: Any, *, fused: bool) -> Any:
        kind = type(one).__name__
        variable = getattr(one, _KERNELS[kind])
        values = variable.numpy()
        if kind == "DepthwiseConv2D":
            rows = values.reshape(-1, values.shape[-2] * values.shape[-1])
        elif kind == "Conv2DTranspose":
            rows = values.transpose(0, 1, 3, 2).reshape(-1, values.shape[-2])
        else:
            rows = values.reshape(-1, values.shape[-1])
        zeros, shared = self._keeps
        kept = Kept.of(rows, values=shared) if zeros else None
        config = self._registry.Default8BitQuantizeConfig([_KERNELS[kind]], ["activation"], quantize_output=False)
        if (kept is not None and kept.shared and not kept.by_channel) or kind == "Conv2DTranspose":
            config.weight_quantizer = quantizers.one_scale()
        else:
            axes = {"DepthwiseConv2D": 2, "Dense": 1}.get(kind)
            config.weight_quantizer = quantizers.each_output(axes) if axes else quantizers.per_channel()
        if fused:
            one.activation = quantizers.module("quantize_aware_activation").NoOpActivation()
        wrapper = self._wrapper(one, config)
        self.kernels.append(Kernel(layer.name, variable, wrapper, kept))
        return wrapper

    def _wrapper(self, layer: Any, config: Any) -> Any:
        made = quantizers.module("quantize_wrapper").QuantizeWrapperV2(layer, config, name_prefix=_PREFIX)
        self.quantized.append(made)
        return made

    def _called(self, layers: Sequence[Any], *, integer: bool = True) -> Callable[..., Any]:
        """Calls layers one after another, the first one on integers."""

        def call(given: Any, **kwargs: Any) -> Any:
            found = self._entered(given) if self._rounds else given
            for number, layer in enumerate(layers):
                found = layer(found, **({} if number else kwargs))
            if integer:
                self._mark(found)
            return found

        return call

    def _entered(self, given: Any) -> Any:
        """Tensors with the rounding of integers, where what makes them has none."""
        if isinstance(given, list | tuple):
            return [self._entered(one) for one in given]
        if id(given) in self._integer or not given.dtype.is_floating:
            return given
        if id(given) not in self._entries:
            source, kinds = given.node.layer, quantizers.module("quantizers")
            own = type(source).__name__ == "InputLayer"
            kind = kinds.AllValuesQuantizer if own else kinds.MovingAverageQuantizer
            made = kind(num_bits=8, per_axis=False, symmetric=False, narrow_range=False)
            name = f"{_PREFIX}{len(self._entries)}{_SIGN}{source.name}"
            layer = quantizers.module("quantize_layer").QuantizeLayer(made, name=name)
            self.quantized.append(layer)
            self._entries[id(given)] = given, layer(given)
        return self._entries[id(given)][1]

    def _mark(self, found: Any) -> None:
        for tensor in _flat(found):
            self._integer[id(tensor)] = tensor

    def _chain(self, layer: Any, twin: Any) -> list[Any]:
        """Layers that compute what a Keras layer and the normalization behind it do, with its weights."""
        import numpy as np

        tf_keras = require("tf_keras", "tensorflow")
        weights, shape = [np.asarray(w) for w in layer.get_weights()], twin.get_input_shape_at(0)
        norm = self._norms.get(id(layer))
        if norm is not None:
            bias = weights.pop() if layer.use_bias else np.float32(0)
            shift = -np.asarray(norm.moving_mean) + (np.asarray(norm.beta) if norm.center else np.float32(0))
            weights.append((bias + shift).astype(np.float32))
            twin = bridge_layers.twin(layer, f"{twin.name}{_SIGN}biased", use_bias=True)
        if type(layer).__name__ == "SeparableConv2D":
            common = {"data_format": layer.data_format}
            chain = [
                tf_keras.layers.DepthwiseConv2D(
                    layer.kernel_size, strides=layer.strides, padding=layer.padding, use_bias=False,
                    depth_multiplier=layer.depth_multiplier, dilation_rate=layer.dilation_rate,
                    name=f"{twin.name}{_SIGN}depthwise", **common,
                ),
                tf_keras.layers.Conv2D(
                    layer.filters, 1, use_bias=twin.use_bias, activation=twin.activation,
                    name=f"{twin.name}{_SIGN}pointwise", **common,
                ),
            ]  # fmt: skip
            parts = [weights[:1], weights[1:]]
        else:
            chain, parts = [twin], [weights]
        for one, own in zip(chain, parts, strict=True):
            if not one.built:
                one.build(shape)
            one.set_weights(own)
            shape = one.compute_output_shape(shape)
        return chain


def _apart(layer: Any, name: str) -> list[Any]:
    """The activation of a layer as a layer of its own, where TF-MOT does not round before it; [] where it does."""
    layers = require("tf_keras", "tensorflow").layers
    own = layer.activation
    if _name(own) in _KNOWN:
        return []
    layer.activation = require("tf_keras", "tensorflow").activations.linear
    return [layers.ReLU(6.0, name=name) if _name(own) == "relu6" else layers.Activation(_renamed(own), name=name)]


def _renamed(activation: Any) -> Any:
    """An activation under the name by which TF-MOT knows it."""
    return require("tf_keras", "tensorflow").activations.swish if _name(activation) == "silu" else activation


def _fused(flat: Flat, gone: set[int]) -> set[int]:
    """Layers behind which nothing but a ReLU reads: it is computed with them, and nothing is rounded between."""
    reads: dict[str, list[Step]] = {}
    last: dict[str, Step] = {}
    for step in flat.steps:
        last[step.name] = step
        for name in step.input:
            reads.setdefault(name, []).append(step)
    calls, found = flat.calls(), set[int]()
    for name, step in last.items():
        if (
            step.kind not in _FUSING
            or calls.get(name, 0) != 1
            or _name(getattr(step.op, "activation", None)) not in {"", "linear"}
        ):
            continue
        tensor = step.output[0]
        while tensor not in flat.outputs and len(behind := reads.get(tensor, [])) == 1:
            if id(behind[0].op) not in gone and behind[0].kind not in _NOISE:
                kind, op = behind[0].kind, behind[0].op
                if kind == "ReLU" or (kind == "Activation" and _name(op.activation) in {"relu", "relu6"}):
                    found.add(id(step.op))
                break
            tensor = behind[0].output[0]
    return found


def _name(activation: Any) -> str:
    """Name of an activation; "" for none."""
    return str(getattr(activation, "__name__", ""))


def _unchanged(given: Any, **kwargs: Any) -> Any:
    del kwargs
    return given


def _flat(given: Any) -> list[Any]:
    return list(given) if isinstance(given, list | tuple) else [given]


def _weights(layer: Any) -> int:
    return int(sum(w.shape.num_elements() for w in layer.weights))
