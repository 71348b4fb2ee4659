"""Layers that slide a window over images, written as ONNX; sizes are rounded as Caffe rounds them."""

from __future__ import annotations

import math
from typing import Any

from deploykit.loading._caffe.graph import Graph, Value
from deploykit.loading._caffe.net import CaffeLayer
from deploykit.loading._caffe.text import Message


def _pair(
    graph: Graph, layer: CaffeLayer, settings: Message, name: str, usual: int, axes: tuple[str, str]
) -> list[int]:
    """Height and width: given one by one, or one number for both."""
    given = settings.wholes(name)
    found = [settings.whole(axis, -1) for axis in axes]
    if -1 in found:
        if len(given) > 2:
            raise graph.refuse(layer, f"has {len(given)} sizes in {name}; images have two")
        found = [given[0], given[-1]] if given else [usual, usual]
    if min(found) < (0 if name == "pad" else 1):
        raise graph.refuse(layer, f"has an impossible {name}: {found[0]} × {found[1]}")
    return found


def _window(graph: Graph, layer: CaffeLayer, settings: Message) -> tuple[list[int], list[int], list[int]]:
    """Kernel, stride and padding."""
    return (
        _pair(graph, layer, settings, "kernel_size", 0, ("kernel_h", "kernel_w")),
        _pair(graph, layer, settings, "stride", 1, ("stride_h", "stride_w")),
        _pair(graph, layer, settings, "pad", 0, ("pad_h", "pad_w")),
    )


def _image(graph: Graph, layer: CaffeLayer, x: Value) -> tuple[int, int, int]:
    if len(x.shape) != 3:
        raise graph.refuse(layer, f"needs images, and gets examples with {len(x.shape)} axes")
    return x.shape[0], x.shape[1], x.shape[2]


def convolution(graph: Graph, layer: CaffeLayer, x: Value) -> Value:
    """Convolution and Deconvolution: sizes are rounded down."""
    settings = layer.parameters("convolution_param")
    kernel, stride, pad = _window(graph, layer, settings)
    channels, *sizes = _image(graph, layer, x)
    given = settings.wholes("dilation") or [1]
    dilation, group, made = [given[0], given[-1]], settings.whole("group", 1), settings.whole("num_output", 0)
    if settings.whole("axis", 1) != 1 or min(*dilation, group, made) < 1 or channels % group or made % group:
        raise graph.refuse(layer, f"has impossible settings for {channels} channels")
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    attributes: dict[str, Any] = {
        "kernel_shape": kernel, "strides": stride, "pads": pad + pad, "dilations": dilation, "group": group,
    }  # fmt: skip
    if layer.type == "Convolution":
        weights = graph.weights(layer, 0, made, channels // group, *kernel)
        after = [(n + 2 * p - r) // s + 1 for n, p, r, s in zip(sizes, pad, reach, stride, strict=True)]
        operator = "Conv"
    else:
        weights = graph.weights(layer, 0, channels, made // group, *kernel)
        after = [s * (n - 1) + r - 2 * p for n, p, r, s in zip(sizes, pad, reach, stride, strict=True)]
        operator = "ConvTranspose"
    inputs = [x.name, graph.constant(layer, "weights", weights)]
    if settings.flag("bias_term", usual=True):
        inputs.append(graph.constant(layer, "bias", graph.weights(layer, 1, made)))
    return graph.add(layer, operator, inputs, (made, *after), **attributes)


def pooling(graph: Graph, layer: CaffeLayer, x: Value) -> Value:
    """Pooling: sizes are rounded up; an average counts the padding, and nothing beyond it."""
    settings = layer.parameters("pooling_param")
    kind, (channels, *sizes) = settings.word("pool", "MAX"), _image(graph, layer, x)
    if kind not in ("MAX", "AVE") or len(layer.tops) > 1:
        raise graph.refuse(layer, f"pools by {kind}" if kind not in ("MAX", "AVE") else "also gives places of maxima")
    average = kind == "AVE"
    if settings.flag("global_pooling"):
        return graph.add(layer, "GlobalAveragePool" if average else "GlobalMaxPool", [x.name], (channels, 1, 1))
    kernel, stride, pad = _window(graph, layer, settings)
    up = settings.word("round_mode", "CEIL") == "CEIL"
    after, beyond = [], []
    for n, k, s, p in zip(sizes, kernel, stride, pad, strict=True):
        room = n + 2 * p - k
        if k < 1 or room < 0 or p >= k:
            raise graph.refuse(layer, f"has a window of {k} with a padding of {p} on images of {n}")
        count = (math.ceil(room / s) if up else room // s) + 1
        if p and (count - 1) * s >= n + p:  # the last window would begin outside
            count -= 1
        after.append(count)
        beyond.append(max(0, (count - 1) * s + k - n - 2 * p))
        if beyond[-1] >= k:
            raise graph.refuse(layer, f"has a window outside of the image: {k} with a stride of {s} on {n}")
    shape = (channels, *after)
    if not average:
        pads = [*pad, *(p + b for p, b in zip(pad, beyond, strict=True))]
        if all(p < k for p, k in zip(pads, kernel + kernel, strict=True)):
            return graph.add(layer, "MaxPool", [x.name], shape, kernel_shape=kernel, strides=stride, pads=pads)
        x = _padded(graph, layer, x, pad, -3.4028234663852886e38)
        return graph.add(layer, "MaxPool", [x.name], shape, kernel_shape=kernel, strides=stride, pads=[0, 0, *beyond])
    if any(pad):
        x = _padded(graph, layer, x, pad, 0.0)
    return graph.add(
        layer, "AveragePool", [x.name], shape, kernel_shape=kernel, strides=stride, pads=[0, 0, *beyond],
        count_include_pad=0,
    )  # fmt: skip


def _padded(graph: Graph, layer: CaffeLayer, x: Value, pad: list[int], value: float) -> Value:
    import numpy as np

    pads = graph.constant(layer, "pads", np.array([0, 0, *pad, 0, 0, *pad], np.int64))
    filled = graph.constant(layer, "padding", np.array(value, np.float32))
    channels, height, width = x.shape
    return graph.add(layer, "Pad", [x.name, pads, filled], (channels, height + 2 * pad[0], width + 2 * pad[1]))


def local_response(graph: Graph, layer: CaffeLayer, x: Value) -> Value:
    """LRN across channels: the same formula as ONNX's."""
    settings = layer.parameters("lrn_param")
    region, size = settings.word("norm_region", "ACROSS_CHANNELS"), settings.whole("local_size", 5)
    if region != "ACROSS_CHANNELS" or size < 1 or size % 2 == 0:
        raise graph.refuse(layer, f"normalizes {region} of {size}, and only ACROSS_CHANNELS of an odd size is known")
    return graph.add(
        layer, "LRN", [x.name], x.shape, size=size, alpha=settings.number("alpha", 1.0),
        beta=settings.number("beta", 0.75), bias=settings.number("k", 1.0),
    )  # fmt: skip


RULES = {"Convolution": convolution, "Deconvolution": convolution, "Pooling": pooling, "LRN": local_response}
