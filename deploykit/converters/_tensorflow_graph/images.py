"""Operators that change the size of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.converters._tensorflow_graph.calls import Call, Rule, tensorflow
from deploykit.converters._tensorflow_graph.values import Value

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _resize(call: Call) -> Value:
    import numpy as np

    tf, value = tensorflow(), call[0]
    mode, how = call.get("mode", "nearest"), call.get("coordinate_transformation_mode", "half_pixel")
    if call.node.op_type == "Upsample" or call.version < 11:
        how, places = "asymmetric", (1, 1)
    else:
        places = (2, 3)
    if value.rank != 4 or None in value.dims[1:] or call.get("antialias", 0) or call.get("axes"):
        raise call.refused("only images of known sizes are supported, without antialiasing and axes")
    space = [int(d or 0) for d in value.dims[2:]]
    scales, sizes = call.setting(places[0], "scales"), None
    if scales is None or not scales.size:
        sizes = call.dims if call.dims is not None and None not in call.dims[2:] else call.numbers(places[1])
        assert sizes is not None
        factors = [int(sizes[k + 2] or 0) / space[k] for k in (0, 1)]
        changed = list(sizes[:2]) != value.dims[:2] and call.dims is None
    else:
        factors = [float(scales[k + 2]) for k in (0, 1)]
        changed = bool((scales[:2] != 1).any())
    made = [int(np.floor(n * f + 1e-9)) for n, f in zip(space, factors, strict=True)] if sizes is None else [
        int(sizes[2] or 0), int(sizes[3] or 0)
    ]  # fmt: skip
    if changed or call.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise call.refused("it resizes channels, or keeps the aspect ratio")
    x = value.last()
    if mode == "nearest":
        found = [_nearest(call, how, *given) for given in zip(space, made, factors, strict=True)]
        centers = [np.floor((np.arange(m) + 0.5) * n / m) for m, n in zip(made, space, strict=True)]
        if all((one == two).all() for one, two in zip(found, centers, strict=True)):
            return Value(last=tf.raw_ops.ResizeNearestNeighbor(images=x, size=made, half_pixel_centers=True))
        for axis, index in enumerate(found):
            x = tf.gather(x, index.astype(np.int32), axis=axis + 1)
        return Value(last=x)
    exact = sizes is not None or all(m == n * f for m, n, f in zip(made, space, factors, strict=True))
    if mode != "linear" or not exact:
        raise call.refused(f"its mode is {mode}, or its scales do not give whole sizes")
    if how == "pytorch_half_pixel" and 1 not in made:
        how = "half_pixel"
    options = {
        "half_pixel": {"half_pixel_centers": True}, "align_corners": {"align_corners": True}, "asymmetric": {},
    }.get(how)  # fmt: skip
    if options is None:
        raise call.refused(f"its coordinates are {how}")
    return Value(last=tf.raw_ops.ResizeBilinear(images=x, size=made, **options))


def _nearest(call: Call, how: str, old: int, new: int, factor: float) -> NDArray[Any]:
    """Which element of an axis each place of the resized one has."""
    import numpy as np

    at = np.arange(new, dtype=np.float64)
    if how == "asymmetric":
        at = at / factor
    elif how == "align_corners":
        at = at * (old - 1) / max(1, new - 1)
    elif how in ("half_pixel", "pytorch_half_pixel"):
        at = (at + 0.5) / factor - 0.5 if how == "half_pixel" or new > 1 else at * 0
    else:
        raise call.refused(f"its coordinates are {how}")
    rounding = call.get("nearest_mode", "floor" if call.version < 11 else "round_prefer_floor")
    if rounding == "round_prefer_floor":
        found = np.ceil(at - 0.5)
    elif rounding == "round_prefer_ceil":
        found = np.floor(at + 0.5)
    else:
        found = np.ceil(at) if rounding == "ceil" else np.floor(at)
    return np.asarray(np.clip(found, 0, old - 1).astype(np.int64))


def _depth_to_space(call: Call) -> Value:
    tf, size, value = tensorflow(), int(call.get("blocksize")), call[0]
    if call.get("mode", "DCR") == "DCR":
        return Value(last=tf.nn.depth_to_space(value.last(), size))
    channels = value.dims[1]
    if channels is None:
        raise call.refused("the number of channels is not known")
    index = [c * size * size + k for k in range(size * size) for c in range(channels // (size * size))]
    return Value(last=tf.nn.depth_to_space(tf.gather(value.last(), index, axis=-1), size))


def _space_to_depth(call: Call) -> Value:
    tf = tensorflow()
    if call.get("mode", "DCR") != "DCR":
        raise call.refused(f"its mode is {call.get('mode')}")
    return Value(last=tf.nn.space_to_depth(call[0].last(), int(call.get("blocksize"))))


RULES: dict[str, Rule] = {
    "Resize": _resize, "Upsample": _resize, "DepthToSpace": _depth_to_space, "SpaceToDepth": _space_to_depth,
}  # fmt: skip
