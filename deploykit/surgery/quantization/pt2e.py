"""int8 for exported programs of PyTorch: PT2E of torchao, for the layers that PyTorch's x86 kernels take.

The file that is written holds integers, and says where numbers are rounded and made real again by operators that
PyTorch has itself. Its compiler joins them with the layers between into integer kernels; run operator by operator, each
layer computes in float on numbers that were rounded.

Source: PyTorch 2 Export Quantization, https://docs.pytorch.org/ao/stable/pt2e_quantization/index.html
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from deploykit.core.errors import DeploykitError, UnsupportedModelError
from deploykit.core.extras import require
from deploykit.core.layers.kinds import LayerKind
from deploykit.data.dataset import Dataset
from deploykit.loading.pytorch import ADAPTER as PYTORCH
from deploykit.readers.pytorch.program import Program
from deploykit.runtimes import _torch, _torch_program
from deploykit.sandbox.task import Report
from deploykit.surgery import selection
from deploykit.surgery.quantization import _pt2e_graph, calibration, histograms
from deploykit.surgery.torch_programs import known_program, write

#: Layers whose weights become integers.
HEAVY = frozenset({"conv1d", "conv2d", "linear"})
#: Of these, the ones whose activations PyTorch quantizes while the model runs.
ON_THE_FLY = frozenset({"linear"})
#: Kinds of layers that have weights worth a word where they stay float.
_WEIGHTED: frozenset[LayerKind] = frozenset({"dense", "convolution", "depthwise", "recurrent", "embedding"})
#: Least scale of activations, torchao's own for this backend.
_LEAST = 2**-12
#: Lowest and highest integers of weights, by whether they have 7 bits.
_ENDS = {False: (-128, 127), True: (-64, 63)}
_TORCHAO = "torchao.quantization.pt2e"


@dataclass(frozen=True)
class Choice:
    """What is quantized, and how.

    Attributes:
        exclude: Layers and operators that stay float, as `selection.excluded` reads it.
        between: Whether what lies between the layers is quantized as well, where PyTorch can.
        narrow: Whether weights have 7 bits.
        method: How ranges come from the calibration examples: ``"minmax"``, ``"entropy"`` or ``"percentile"``; "" where
            activations are quantized while the model runs.
    """

    exclude: str
    between: bool = False
    narrow: bool = False
    method: str = ""

    @property
    def heavy(self) -> frozenset[str]:
        """Types of layers whose weights become integers."""
        return HEAVY if self.method else ON_THE_FLY


def quantize(
    source: Path, target: Path, choice: Choice, data: Dataset | None, notes: dict[str, Any], report: Report
) -> list[list[Any]]:
    """Write a program with weights of 8 bits.

    Args:
        source: The program.
        target: Where to write the other one.
        choice: What is quantized.
        data: The data, whose calibration examples give the ranges; None where none are measured.
        notes: Gets what stays float, and the number of examples.
        report: Called with the progress in batches.

    Returns:
        The layers that were changed: name, type and number of weights of each.

    Raises:
        UnsupportedModelError: TorchScript, or a program without layers that PyTorch quantizes.
        DatasetError: The calibration examples do not fit.
        SettingError: A name in ``exclude`` is not in the program.
    """
    torch = _torch.pytorch()
    known = known_program(source)
    parts = _parts(source)
    left = selection.excluded(choice.exclude, parts, "layer", "operator")
    program = _torch.load_program(source)
    module = _torch.unguarded(program)
    kept = {node for node, name in known.names.items() if name in left}
    _pt2e_graph.prepare(module)
    weights, others = _pt2e_graph.weights_of(module, choice.heavy)
    if not weights.keys() - kept:
        types = ", ".join(sorted({part.type for part in parts if part.kind in _WEIGHTED})) or "none"
        raise UnsupportedModelError(
            f"PyTorch quantizes {' and '.join(sorted(choice.heavy))} with weights in float32; of {source.name}, none "
            f"is left to quantize (layers with weights: {types}).",
            remedy="skip this technique for the model, or, where the program was decomposed, save it as "
            "torch.export.export gives it.",
        )
    with _explained(source):
        made = _prepared(torch, module, choice, kept | others)
    if data is None:  # observers of weights see them when the module runs
        _fed(partial(_torch.caller(program), made), _torch_program.examples(known))
    else:
        batches = calibration.Batches(data, known.inputs, _runner(program, known), calibration.BATCH, notes)
        _calibrate(program, made, batches, choice.method, report)
    with _explained(source), torch.no_grad():
        made = require(f"{_TORCHAO}.quantize_pt2e", "torch").convert_pt2e(made)
        done = _pt2e_graph.tidy(made, weights)
        write(_torch_program.flat(program, known, module=made), target)
    changed = [part for part, node in zip(parts, known.nodes, strict=True) if node.name in done]
    names = {part.name for part in changed}
    why = "PyTorch does not quantize {}" if data is not None else "PyTorch does not quantize {} while the model runs"
    floats = [part for part in parts if part.kind in _WEIGHTED and part.weights and part.name not in names]
    if stays := {part.name: why.format(part.type) for part in floats if part.name not in left}:
        notes["stays_float"] = stays
    counts = {"quantized": Counter(x.type for x in changed), "float": Counter(x.type for x in floats)}
    notes |= {kind: dict(sorted(found.items())) for kind, found in counts.items() if found}
    return selection.units(changed, left)


def _parts(source: Path) -> list[selection.Selectable]:
    """The operators of a program, as a setting may call them."""
    layers = PYTORCH.read(source, trusted=True, imports=()).layers
    return [selection.Selectable(x.name, x.type, x.parameters, kind=x.kind or PYTORCH.kind_of(x)) for x in layers]


def _prepared(torch: Any, module: Any, choice: Choice, kept: set[str]) -> Any:
    """The module with an observer wherever something is quantized."""
    with _quiet():
        own: Any = require(f"{_TORCHAO}.quantizer.x86_inductor_quantizer", "torch")
        base = require(f"{_TORCHAO}.quantizer", "torch")
        observers = require(f"{_TORCHAO}.observer", "torch")
        quantize_pt2e = require(f"{_TORCHAO}.quantize_pt2e", "torch")
    dynamic = not choice.method
    watch = observers.PlaceholderObserver if dynamic else observers.MinMaxObserver
    activations = base.QuantizationSpec(
        dtype=torch.uint8, quant_min=0, quant_max=255, qscheme=torch.per_tensor_affine, is_dynamic=dynamic,
        observer_or_fake_quant_ctr=watch.with_args(eps=_LEAST),
    )  # fmt: skip
    low, high = _ENDS[choice.narrow]
    weights = base.QuantizationSpec(
        dtype=torch.int8, quant_min=low, quant_max=high, qscheme=torch.per_channel_symmetric, ch_axis=0,
        observer_or_fake_quant_ctr=observers.PerChannelMinMaxObserver.with_args(eps=_LEAST),
    )  # fmt: skip
    config = base.QuantizationConfig(activations, activations, weights, None, False)

    class Sparing(own.X86InductorQuantizer):  # type: ignore[misc]  # mypy does not look into torchao
        def annotate(self, model: Any) -> Any:
            for node in model.graph.nodes:
                if node.name in kept:
                    node.meta[own.QUANT_ANNOTATION_KEY] = own._X86InductorQuantizationAnnotation(_annotated=True)
            return super().annotate(model)

    quantizer = Sparing()
    if choice.between:
        quantizer.set_global(config)
    else:
        for name in choice.heavy:
            quantizer._set_aten_operator_qconfig(getattr(torch.ops.aten, name).default, config)
    return quantize_pt2e.prepare_pt2e(module, quantizer)


def _runner(program: Any, known: Program) -> calibration.Run:
    """The program in float, which makes the state of the next step."""
    call, names = _torch.call_of(program), [spec.name for spec in known.outputs]

    def run(batch: calibration.Batch) -> Mapping[str, Any]:
        return dict(zip(names, (value.numpy() for value in _fed(call, batch.values())), strict=True))

    return run


def _fed(call: Callable[..., Any], given: Iterable[Any]) -> Any:
    torch = _torch.pytorch()
    with torch.no_grad():
        return call([one if isinstance(one, torch.Tensor) else torch.tensor(one) for one in given])


def _calibrate(program: Any, made: Any, batches: calibration.Batches, method: str, report: Report) -> None:
    """Let the observers see the calibration examples, twice where outliers are clipped."""
    torch = _torch.pytorch()
    call = partial(_torch.caller(program), made)
    for batch in calibration.counted(batches, report):
        _fed(call, batch.values())
    watching = {name: part for name, part in made.named_modules() if getattr(part, "dtype", None) is torch.uint8}
    if odd := [name for name, part in watching.items() if not bool(part.min_val.isfinite() & part.max_val.isfinite())]:
        before = [str(node.args[0]) for node in made.graph.nodes if node.op == "call_module" and node.target in odd]
        raise UnsupportedModelError(
            f"The calibration examples give NaN or infinity at {', '.join(before[:4])}, which 8 bits cannot hold.",
            remedy="leave the layers that read them out with exclude.",
        )
    if method == "minmax":
        return
    filled = dict[str, histograms.Histogram]()
    for name, part in watching.items():
        histogram = histograms.Histogram(
            part.min_val.numpy().reshape(()), part.max_val.numpy().reshape(()), absolute=method == "percentile"
        )
        filled |= {name: histogram} if histogram.usable else {}
    for name, histogram in filled.items():
        watching[name].register_forward_pre_hook(partial(_count, histogram))
    for batch in calibration.counted(batches, report):
        _fed(call, batch.values())
    for name, (low, high, *_) in histograms.ends(filled, method).items() if filled else ():
        watching[name].min_val, watching[name].max_val = torch.tensor(float(low)), torch.tensor(float(high))


def _count(histogram: histograms.Histogram, module: Any, given: tuple[Any, ...]) -> None:
    del module
    histogram.add(given[0].detach().numpy())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Import torchao without its native libraries, which nothing here calls, and without what it says about them.

    It registers passes with PyTorch's compiler, which has its own of the same kind: they are not left behind for what
    this process compiles later.
    """
    inductor: Any = require("torch._inductor.config", "torch")
    os.environ.setdefault("TORCHAO_FORCE_SKIP_LOADING_SO_FILES", "1")
    before, off = inductor.pre_grad_custom_pass, logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(off)
        inductor.pre_grad_custom_pass = before


@contextlib.contextmanager
def _explained(source: Path) -> Iterator[None]:
    """Turn what the quantizer runs into into one error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (MemoryError, DeploykitError):
        raise
    except Exception as error:  # patterns and exporters raise what they like
        text = " ".join(str(error).split())[:400]
        raise UnsupportedModelError(
            f"PyTorch cannot quantize {source.name}: {type(error).__name__}: {text}",
            remedy="leave the layer out with exclude, or choose another runtime, which goes through ONNX.",
        ) from error
