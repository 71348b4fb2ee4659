"""The tf_keras layer that computes what a Keras 3 layer computes."""

from __future__ import annotations

import inspect
from typing import Any

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require

#: Layers that hold code or another program instead of a definition.
_OPAQUE = frozenset({"Lambda", "TFSMLayer", "JaxLayer", "FlaxLayer", "TorchModuleWrapper"})
#: Layers whose state is a table, which does not travel as weights.
_TABLES = frozenset({"StringLookup", "IntegerLookup", "TextVectorization", "HashedCrossing", "Hashing"})
#: Settings that change nothing the trained model computes. Weights are copied, so initializers are not needed; the
#: form Keras 3 gives them (``input_axes``) would only be refused.
_IRRELEVANT = frozenset({"seed", "autocast", "use_cudnn", "flash_attention", "build_config"})
_RENAMED = {"LeakyReLU": {"negative_slope": "alpha"}}
_ACTIVATIONS = frozenset({"activation", "recurrent_activation"})
#: Activations that are the same function under the same name in both; TF-MOT knows these by their identity.
_SAME_ACTIVATIONS = frozenset(
    {"linear", "relu", "softmax", "sigmoid", "tanh", "elu", "selu", "softplus", "softsign", "exponential", "gelu"}
)


def twin(layer: Any, name: str, **changes: Any) -> Any:
    """A tf_keras layer of the same class and settings, without weights.

    Args:
        layer: A built-in Keras 3 layer.
        name: Name of the new layer.
        changes: Settings of the layer that are to be others.

    Raises:
        UnsupportedModelError: tf_keras has no such layer, or lacks one of its settings; names the layer and its class.
    """
    kind = type(layer)
    if kind.__name__ in _TABLES:
        raise _no_twin(layer.name, kind, "holds a lookup table, which cannot be copied")
    if getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False):
        raise _no_twin(layer.name, kind, "has quantized or low-rank weights")
    if kind.__name__ == "Normalization":
        return _normalization(layer, name)
    return _make(kind, layer.get_config() | changes, name, layer.name)


def _make(kind: type, config: dict[str, Any], name: str, owner: str) -> Any:
    tf_keras = require("tf_keras", "tensorflow")
    target = getattr(tf_keras.layers, kind.__name__, None)
    if target is None or kind.__name__ in _OPAQUE or kind.__module__.partition(".")[0] != "keras":
        raise _no_twin(owner, kind, "has no counterpart in tf_keras, which TensorFlow Model Optimization works on")
    accepted = _arguments(target)
    defaults = _arguments(kind)
    settings: dict[str, Any] = {"name": name}
    for key, value in config.items():
        renamed = _RENAMED.get(kind.__name__, {}).get(key, key)
        if key == "name" or key in _IRRELEVANT or key.endswith("_initializer"):
            continue
        if renamed in accepted:
            settings[renamed] = _setting(key, value, owner, kind)
        elif value not in (None, False, defaults.get(key)) and not (key == "data_format" and value == "channels_last"):
            raise _no_twin(owner, kind, f"has the setting {key}={value!r}, which its counterpart in tf_keras lacks")
    try:
        return target(**settings)
    except (TypeError, ValueError) as error:
        raise _no_twin(owner, kind, f"is rejected by tf_keras ({' '.join(str(error).split())[:200]})") from error


def _arguments(kind: type) -> dict[str, Any]:
    """All constructor arguments of a class and its bases, with their defaults."""
    found: dict[str, Any] = {"trainable": True, "dtype": None}
    for base in reversed(kind.__mro__):
        if "__init__" in base.__dict__:
            found |= {k: p.default for k, p in inspect.signature(base.__dict__["__init__"]).parameters.items()}
    if "return_sequences" in found:  # recurrent layers take it among their keyword arguments
        found["zero_output_for_mask"] = False
    return found


def _setting(key: str, value: Any, owner: str, kind: type) -> Any:
    if key in _ACTIVATIONS:
        return _activation(value, owner, kind)
    if key == "dtype":
        return _policy(value, owner, kind)
    if key.endswith(("_regularizer", "_constraint")):
        return _penalty(key, value)
    if isinstance(value, list) and value and all(map(_is_layer, value)):
        return [_nested(v, owner) for v in value]
    return _nested(value, owner) if _is_layer(value) else value


def _is_layer(value: Any) -> bool:
    return isinstance(value, dict) and {"class_name", "config", "module"} <= set(value)


def _nested(value: dict[str, Any], owner: str) -> Any:
    """The layer inside a wrapper (Bidirectional, TimeDistributed, RNN)."""
    keras = require("keras", "tensorflow")
    inner = getattr(keras.layers, value["class_name"], None)
    if inner is None or value.get("registered_name"):
        raise UnsupportedModelError(
            f"Layer {owner!r} wraps a {value['class_name']}, which has no counterpart in tf_keras.",
            remedy="leave out the techniques that need TensorFlow Model Optimization for this model.",
        )
    return _make(inner, value["config"], value["config"]["name"], f"{owner}/{value['config']['name']}")


def _activation(value: Any, owner: str, kind: type) -> Any:
    """The name where both libraries mean the same, else Keras 3's own function: it takes TensorFlow's tensors."""
    if value is None or value in _SAME_ACTIVATIONS:
        return value
    keras = require("keras", "tensorflow")
    try:
        return keras.activations.get(value)
    except (TypeError, ValueError) as error:
        raise _no_twin(owner, kind, f"has the activation {value!r}, which cannot be found") from error


def _policy(value: Any, owner: str, kind: type) -> Any:
    if not isinstance(value, dict):
        return value
    if value["class_name"] != "DTypePolicy":
        raise _no_twin(owner, kind, f"has the dtype policy {value['class_name']}, which tf_keras lacks")
    name = value["config"]["name"]
    return "float32" if name.startswith("mixed_") else name  # CPUs train in float32; the weights are float32 anyway


def _penalty(key: str, value: Any) -> Any:
    """Regularizers and constraints steer fine-tuning only: one tf_keras does not know is left out."""
    if not isinstance(value, dict):
        return value
    tf_keras = require("tf_keras", "tensorflow")
    module = tf_keras.regularizers if key.endswith("_regularizer") else tf_keras.constraints
    known = getattr(module, value["class_name"], None)
    if known is None or value.get("registered_name"):
        return None
    try:
        return known(**value["config"])
    except TypeError:
        return None


def _normalization(layer: Any, name: str) -> Any:
    """Its statistics are weights in one library and settings in the other when they were learned by ``adapt``."""
    np, tf_keras = require("numpy", ""), require("tf_keras", "tensorflow")
    axis = tuple(layer.axis) if isinstance(layer.axis, list | tuple) else layer.axis
    mean, variance = (np.asarray(v, np.float32) for v in (layer.mean, layer.variance))
    if axis is None or axis == ():
        mean, variance = float(mean.reshape(())), float(variance.reshape(()))
    else:
        mean, variance = np.squeeze(mean), np.squeeze(variance)
    return tf_keras.layers.Normalization(axis=axis, mean=mean, variance=variance, invert=layer.invert, name=name)


def _no_twin(owner: str, kind: type, why: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"Layer {owner!r} ({kind.__module__}.{kind.__name__}) {why}.",
        remedy="leave out the techniques that need TensorFlow Model Optimization for this model, or replace the layer.",
    )
