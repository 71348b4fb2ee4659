"""The graphs that PT2E is given and gives: what its patterns look for, and weights that are called as before."""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping
from typing import Any

from deploykit.runtimes import _torch

#: Where graphs keep what an operator came from. The quantizer's patterns go by it; files of other exporters have it
#: otherwise or not at all, and a module that is called twice has it twice.
_ORIGINS = ("source_fn_stack", "torch_fn", "nn_module_stack")
#: Dimensions of a matrix, and terms of an addition.
_MATRIX, _TERMS = 2, 2


def prepare(module: Any) -> None:
    """Let a module's graph say in one way what its operators are."""
    torch = _torch.pytorch()
    aten, functional, nn = torch.ops.aten, torch.nn.functional, torch.nn
    origins = {
        aten.conv1d.default: functional.conv1d, aten.conv2d.default: functional.conv2d,
        aten.linear.default: functional.linear, aten.relu.default: functional.relu, aten.relu_.default: functional.relu,
        aten.hardtanh.default: functional.hardtanh, aten.hardtanh_.default: functional.hardtanh,
        aten.relu6.default: functional.hardtanh, aten.hardswish.default: nn.Hardswish,
        aten.hardswish_.default: nn.Hardswish, aten.silu.default: nn.SiLU, aten.silu_.default: nn.SiLU,
        aten.leaky_relu.default: nn.LeakyReLU, aten.tanh.default: nn.Tanh, aten.gelu.default: nn.GELU,
    }  # fmt: skip
    adds = {aten.add.Tensor, aten.add_.Tensor}
    padded = {aten.conv1d.padding: aten.conv1d.default, aten.conv2d.padding: aten.conv2d.default}
    for node in module.graph.nodes:
        for key in _ORIGINS:
            node.meta.pop(key, None)
        if node.target in padded and (pads := _pads(node)) is not None:
            node.args, node.kwargs, node.target = pads, {}, padded[node.target]
        origin = operator.add if node.target in adds and _joins(node) else origins.get(node.target)
        if origin is not None:
            node.meta["source_fn_stack"] = [(node.name, origin)]
        if node.target is aten.linear.default:
            _in_order(module.graph, node)
    module.recompile()


def _in_order(graph: Any, linear: Any) -> None:
    """Let a linear layer read values in the order of their axes.

    PyTorch makes a product of batches of one that reads transposed values, as attention leaves them, and its compiler
    (2.13) fails on that with a free batch. The copy is made where numbers are rounded, in the same loop.
    """
    given = linear.args[0]
    value = given.meta.get("val")
    if value is None or value.ndim <= _MATRIX or value.is_contiguous():
        return
    with graph.inserting_before(linear):
        copied = graph.call_function(_torch.pytorch().ops.aten.contiguous.default, (given,))
    copied.meta["val"] = value.contiguous()
    linear.replace_input_with(given, copied)


def _pads(node: Any) -> tuple[Any, ...] | None:
    """What a convolution with padding in words takes with numbers; None where the two sides differ."""
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    given: dict[str, Any] = {"bias": None, "stride": 1, "padding": "valid", "dilation": 1, "groups": 1}
    given |= dict(zip(names, node.args, strict=False)) | node.kwargs
    sizes = given["weight"].meta["val"].shape[2:]
    dilation = given["dilation"]
    dilations = [dilation] * len(sizes) if isinstance(dilation, int) else [*dilation] * (len(sizes) // len(dilation))
    whole = [d * (size - 1) if given["padding"] == "same" else 0 for d, size in zip(dilations, sizes, strict=True)]
    if any(one % 2 for one in whole):
        return None
    stride = given["stride"]
    strides = [stride] * len(sizes) if isinstance(stride, int) else [*stride] * (len(sizes) // len(stride))
    found = given | {"padding": [one // 2 for one in whole], "stride": strides, "dilation": dilations}
    return tuple(found[name] for name in names)


def _joins(node: Any) -> bool:
    """Whether an addition is one of two different results of one shape, as at the end of a residual block."""
    if len(node.args) != _TERMS:
        return False
    first, second = node.args
    if not hasattr(first, "meta") or not hasattr(second, "meta") or first is second or node.kwargs.get("alpha", 1) != 1:
        return False
    made = first.op == second.op == "call_function"
    shapes = [tuple(getattr(one.meta.get("val"), "shape", ())) for one in (first, second)]
    return made and bool(shapes[0]) and shapes[0] == shapes[1]


def weights_of(module: Any, types: Collection[str]) -> tuple[dict[str, str], set[str]]:
    """Names of weights in float32 by those of the layers of some types that read them; names of the other layers."""
    torch = _torch.pytorch()
    targets = {getattr(torch.ops.aten, name).default for name in types}
    found, others = dict[str, str](), set[str]()
    for node in module.graph.nodes:
        if node.target not in targets:
            continue
        weight = node.args[1]
        if weight.op == "get_attr" and _value(module, weight.target).dtype is torch.float32:
            found[node.name] = str(weight.target)
        else:
            others.add(node.name)
    return found, others


def tidy(module: Any, weights: Mapping[str, str]) -> set[str]:
    """Call the integers as the weights were, and drop the weights.

    Args:
        module: What has been converted.
        weights: Names of weights by those of layers, as `weights_of` gave them before.

    Returns:
        Names of the layers whose weights are integers now.
    """
    torch = _torch.pytorch()
    graph = module.graph
    widening = torch.ops.quantized_decomposed.dequantize_per_channel.default
    used = {node.target for node in graph.nodes if node.op == "get_attr"}
    names: dict[str, str] = {}
    done = set()
    for node in graph.nodes:
        if node.name not in weights or getattr(node.args[1], "target", None) is not widening:
            continue
        done.add(node.name)
        start, _, last = weights[node.name].rpartition(".")
        fresh = [f"{start}.{one}" if start else one for one in (last, f"{last}_scale", f"{last}_zero_point")]
        for given, name in zip(node.args[1].args, fresh, strict=False):
            names.setdefault(str(given.target), name if name not in used | {*names.values()} else f"{name}_int8")
    values = {old: _value(module, old) for old in names}
    kept = used - names.keys()
    for name, _ in [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]:
        if name not in kept:
            owner, _, last = name.rpartition(".")
            delattr(module.get_submodule(owner), last)
    for old, value in values.items():
        owner, _, last = names[old].rpartition(".")
        module.get_submodule(owner).register_buffer(last, value)
    for node in graph.nodes:
        if node.op == "get_attr":
            node.target = names.get(node.target, node.target)
    module.recompile()
    return done


def _value(module: Any, name: str) -> Any:
    owner, _, last = str(name).rpartition(".")
    return getattr(module.get_submodule(owner), last)
