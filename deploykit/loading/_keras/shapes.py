"""Output shapes of Keras layers from their configs, so that a model's signature is known without TensorFlow.

Shapes are tuples with the batch first and None for free dimensions. A rule returns None when it cannot tell; the
reader then asks Keras itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Shape = tuple[int | None, ...]
Rule = Callable[[dict[str, Any], list[Shape]], Shape | None]


def infer(kind: str, config: dict[str, Any], inputs: list[Shape | None]) -> Shape | None:
    """Output shape of a layer, None when no rule tells it.

    Args:
        kind: Keras class name.
        config: The layer's config.
        inputs: Its input shapes.
    """
    known = [shape for shape in inputs if shape is not None]
    rule = _RULES.get(kind)
    if rule is None or not known or len(known) < len(inputs):
        return None
    try:
        found = rule(config, known)
    except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError):
        return None
    if found is None or any(d is not None and d <= 0 for d in found[1:]):  # a window larger than its input
        return None
    return found


#: Layers that move values about and leave whole numbers, truth values and texts what they are.
_MOVING = frozenset({"Flatten", "Reshape", "Permute", "Identity"})
#: Layers that make floating-point numbers of whole ones.
_FLOATING = frozenset(
    {"BatchNormalization", "Conv1D", "Conv2D", "Conv3D", "Dense", "Embedding", "Normalization", "Rescaling"}
)


def result_type(kind: str, computes: str, inputs: list[str]) -> str:
    """NumPy dtype of a layer's output; "" when no rule tells it.

    Args:
        kind: Keras class name.
        computes: What the layer computes in.
        inputs: dtypes of its inputs.
    """
    if kind in _FLOATING or all("float" in dtype for dtype in inputs):
        return computes
    return inputs[0] if kind in _MOVING and len(set(inputs)) == 1 else ""


def _same(_: dict[str, Any], shapes: list[Shape]) -> Shape:
    return shapes[0]


def _dense(config: dict[str, Any], shapes: list[Shape]) -> Shape:
    return (*shapes[0][:-1], int(config["units"]))


def _flatten(_: dict[str, Any], shapes: list[Shape]) -> Shape:
    return (shapes[0][0], _product(shapes[0][1:]))


def _reshape(config: dict[str, Any], shapes: list[Shape]) -> Shape:
    target = [int(d) for d in config["target_shape"]]
    if -1 in target:
        total, rest = _product(shapes[0][1:]), 1
        for d in target:
            rest *= d if d != -1 else 1
        return (shapes[0][0], *(d if d != -1 else (None if total is None else total // rest) for d in target))
    return (shapes[0][0], *target)


def _permute(config: dict[str, Any], shapes: list[Shape]) -> Shape:
    return (shapes[0][0], *(shapes[0][d] for d in config["dims"]))


def _repeat(config: dict[str, Any], shapes: list[Shape]) -> Shape:
    return (shapes[0][0], int(config["n"]), shapes[0][1])


def _broadcast(_: dict[str, Any], shapes: list[Shape]) -> Shape | None:
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(s)) + s for s in shapes]
    out: list[int | None] = []
    for dims in zip(*padded, strict=True):
        wide = {d for d in dims if d != 1}
        fixed = wide - {None}
        if len(fixed) > 1 or (fixed and None in wide):  # sizes that may or may not fit
            return None
        out.append(fixed.pop() if fixed else (None if wide else 1))
    return tuple(out)


def _concatenate(config: dict[str, Any], shapes: list[Shape]) -> Shape:
    axis = int(config.get("axis", -1)) % len(shapes[0])
    sizes = [s[axis] for s in shapes]
    whole = None if None in sizes else sum(d for d in sizes if d is not None)
    return (*shapes[0][:axis], whole, *shapes[0][axis + 1 :])


def _embedding(config: dict[str, Any], shapes: list[Shape]) -> Shape:
    return (*shapes[0], int(config["output_dim"]))


def _recurrent(config: dict[str, Any], shapes: list[Shape]) -> Shape | None:
    if config.get("return_state"):
        return None
    units = int(config["units"])
    return (*shapes[0][:2], units) if config.get("return_sequences") else (shapes[0][0], units)


def _bidirectional(config: dict[str, Any], shapes: list[Shape]) -> Shape | None:
    inner = infer(config["layer"]["class_name"], config["layer"]["config"], list(shapes))
    if inner is None or config.get("merge_mode", "concat") is None:
        return None
    last = inner[-1]
    return (*inner[:-1], last * 2 if last and config.get("merge_mode", "concat") == "concat" else last)


def _time_distributed(config: dict[str, Any], shapes: list[Shape]) -> Shape | None:
    steps = shapes[0]
    inner = infer(config["layer"]["class_name"], config["layer"]["config"], [(steps[0], *steps[2:])])
    return None if inner is None else (inner[0], steps[1], *inner[1:])


def _spatial(config: dict[str, Any], shape: Shape) -> tuple[list[int | None], Callable[[Any, Any], Shape]]:
    """The spatial dimensions, and how to put them and the channels together again."""
    first = config.get("data_format") == "channels_first"
    dims = list(shape[2:] if first else shape[1:-1])

    def join(spatial: Any, channels: Any) -> Shape:
        return (shape[0], channels, *spatial) if first else (shape[0], *spatial, channels)

    return dims, join


def _channels(config: dict[str, Any], shape: Shape) -> int | None:
    return shape[1] if config.get("data_format") == "channels_first" else shape[-1]


def _spread(value: Any, rank: int) -> list[int]:
    return [int(v) for v in value] if isinstance(value, list | tuple) else [int(value)] * rank


def _window(size: int | None, window: int, stride: int, padding: str) -> int | None:
    if size is None:
        return None
    return -(-size // stride) if padding in ("same", "causal") else (size - window) // stride + 1


def _windows(config: dict[str, Any], dims: list[int | None], size_key: str, stride_key: str) -> list[int | None]:
    sizes = _spread(config[size_key], len(dims))
    strides = _spread(config.get(stride_key) or sizes, len(dims))
    dilations = _spread(config.get("dilation_rate", 1), len(dims))
    return [
        _window(d, (k - 1) * r + 1, s, str(config.get("padding", "valid")))
        for d, k, s, r in zip(dims, sizes, strides, dilations, strict=True)
    ]


def _conv(config: dict[str, Any], shapes: list[Shape]) -> Shape:
    dims, join = _spatial(config, shapes[0])
    return join(_windows(config, dims, "kernel_size", "strides"), int(config["filters"]))


def _depthwise(config: dict[str, Any], shapes: list[Shape]) -> Shape:
    dims, join = _spatial(config, shapes[0])
    channels = _channels(config, shapes[0])
    multiplier = int(config.get("depth_multiplier", 1))
    return join(_windows(config, dims, "kernel_size", "strides"), None if channels is None else channels * multiplier)


def _conv_transpose(config: dict[str, Any], shapes: list[Shape]) -> Shape | None:
    if config.get("output_padding") is not None:
        return None
    dims, join = _spatial(config, shapes[0])
    sizes, strides = _spread(config["kernel_size"], len(dims)), _spread(config["strides"], len(dims))
    if any(r != 1 for r in _spread(config.get("dilation_rate", 1), len(dims))):
        return None
    same = config.get("padding") == "same"
    out = [
        None if d is None else d * s + (0 if same else max(k - s, 0))
        for d, k, s in zip(dims, sizes, strides, strict=True)
    ]
    return join(out, int(config["filters"]))


def _pool(config: dict[str, Any], shapes: list[Shape]) -> Shape:
    dims, join = _spatial(config, shapes[0])
    return join(_windows(config, dims, "pool_size", "strides"), _channels(config, shapes[0]))


def _global_pool(config: dict[str, Any], shapes: list[Shape]) -> Shape:
    dims, join = _spatial(config, shapes[0])
    channels = _channels(config, shapes[0])
    return join([1] * len(dims), channels) if config.get("keepdims") else (shapes[0][0], channels)


def _margins(value: Any, rank: int) -> list[tuple[int, int]]:
    if isinstance(value, int):
        return [(value, value)] * rank
    if rank == 1 and len(value) == 2 and isinstance(value[0], int):
        return [(int(value[0]), int(value[1]))]
    return [(v, v) if isinstance(v, int) else (int(v[0]), int(v[1])) for v in value]


def _margin(key: str, sign: int) -> Rule:
    def rule(config: dict[str, Any], shapes: list[Shape]) -> Shape:
        dims, join = _spatial(config, shapes[0])
        margins = _margins(config[key], len(dims))
        out = [None if d is None else d + sign * (a + b) for d, (a, b) in zip(dims, margins, strict=True)]
        return join(out, _channels(config, shapes[0]))

    return rule


def _upsample(config: dict[str, Any], shapes: list[Shape]) -> Shape:
    dims, join = _spatial(config, shapes[0])
    factors = _spread(config["size"], len(dims))
    return join(
        [None if d is None else d * f for d, f in zip(dims, factors, strict=True)], _channels(config, shapes[0])
    )


def _resizing(config: dict[str, Any], shapes: list[Shape]) -> Shape | None:
    if len(shapes[0]) != 4:  # a picture without a batch
        return None
    _, join = _spatial(config, shapes[0])
    return join([int(config["height"]), int(config["width"])], _channels(config, shapes[0]))


def _product(dims: Shape) -> int | None:
    total = 1
    for d in dims:
        if d is None:
            return None
        total *= d
    return total


def _table(rule: Rule, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


_RULES: dict[str, Rule] = {
    **_table(
        _same,
        "Activation ReLU LeakyReLU PReLU ELU Softmax BatchNormalization LayerNormalization RMSNormalization "
        "GroupNormalization UnitNormalization Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D AlphaDropout "
        "GaussianDropout GaussianNoise ActivityRegularization Rescaling Normalization Identity Masking",
    ),
    **_table(_dense, "Dense"),
    **_table(_flatten, "Flatten"),
    **_table(_reshape, "Reshape"),
    **_table(_permute, "Permute"),
    **_table(_repeat, "RepeatVector"),
    **_table(_broadcast, "Add Subtract Multiply Average Maximum Minimum"),
    **_table(_concatenate, "Concatenate"),
    **_table(_embedding, "Embedding"),
    **_table(_recurrent, "LSTM GRU SimpleRNN"),
    **_table(_bidirectional, "Bidirectional"),
    **_table(_time_distributed, "TimeDistributed"),
    **_table(_conv, "Conv1D Conv2D Conv3D SeparableConv1D SeparableConv2D"),
    **_table(_depthwise, "DepthwiseConv1D DepthwiseConv2D"),
    **_table(_conv_transpose, "Conv1DTranspose Conv2DTranspose Conv3DTranspose"),
    **_table(
        _pool,
        "MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D AveragePooling2D AveragePooling3D",
    ),
    **_table(
        _global_pool,
        "GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D "
        "GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D",
    ),
    **_table(_margin("padding", 1), "ZeroPadding1D ZeroPadding2D ZeroPadding3D"),
    **_table(_margin("cropping", -1), "Cropping1D Cropping2D Cropping3D"),
    **_table(_upsample, "UpSampling1D UpSampling2D UpSampling3D"),
    **_table(_resizing, "Resizing"),
}
