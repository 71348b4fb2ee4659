"""Bias correction: biases take up the mean error that quantization has left in each channel."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.core.problem import Facts, Problem
from deploykit.loading._contract import FORMATS
from deploykit.transforms._conditions import After, Condition, Without
from deploykit.transforms._contract import QUANTIZE, Transform, TransformJob, Variant
from deploykit.transforms._quantizing.original import converted

#: What steps before must have done one of, and must not have done.
_ROUNDED = After(
    frozenset({"quantized", "shared values", "sparse"}),
    "puts right what quantizing, rounding or pruning weights has shifted",
    "put it behind such a step",
)
_WHOLE = Without(
    "smaller", "a model with fewer channels or layers, whose means are not the original's",
    "leave correct_bias out", "use a model with all of its layers",
)  # fmt: skip
_UNSCALED = Without(
    "rescaled", "a model whose channels have other scales than the original's",
    "let quantize_static correct them, with correction=bias",
)  # fmt: skip
_UNTRAINED = Without(
    "trained", "a model whose layers have learned other means than the original's", "leave correct_bias out",
)  # fmt: skip


class _Correcting(Variant):
    help = "Compares the mean of each channel with the original model's on the calibration data, layer by layer."
    needs = ("calibration", "teacher")
    seeded = False

    def expects(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Something that has shifted means, and the original's channels."""
        return (_ROUNDED, _WHOLE, _UNSCALED, _UNTRAINED)

    def _note(self, job: TransformJob, found: Any) -> None:
        """Note what was corrected.

        Raises:
            UnsupportedModelError: Nothing could be.
        """
        if not found.shifts:
            some = "; ".join(f"{name}: {reason}" for name, reason in list(found.stay.items())[:3])
            raise UnsupportedModelError(
                f"No bias of the model can be corrected ({some or 'no layer is one of the original model'}).",
                remedy="leave correct_bias out for this model.",
            )
        job.notes |= found.notes()


class _Onnx(_Correcting):
    name = "onnx"
    label = "bias correction (ONNX)"
    requires = ("onnx", "onnxruntime")
    accepts = frozenset({"onnx"})
    produces = "onnx"

    def _apply(self, job: TransformJob) -> None:
        from deploykit.surgery.channels import onnx_axes
        from deploykit.surgery.correction import onnx_biases
        from deploykit.surgery.quantization import graphs, prepare
        from deploykit.transforms._examples.onnx import examples_of

        onnx = require("onnx", "")
        model = onnx.load(str(job.source))
        with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
            path = converted(job.original, "onnx", Path(folder))
            if any(graphs.is_quantized(node) for node in model.graph.node):  # what quantizers begin with
                prepare.prepare(path, Path(folder) / "prepared.onnx", {})
                reference = onnx.load(str(Path(folder) / "prepared.onnx"))
            else:
                reference = onnx_axes.plain(onnx.load(str(path)))
        given, wanted = ([v.name for v in one.graph.input] for one in (model, reference))
        if not {*wanted} <= {*given}:
            raise UnsupportedModelError(
                f"The model takes {', '.join(given)}, and the original {', '.join(wanted)}: they cannot be compared.",
                remedy="leave correct_bias out for this model.",
            )
        found = onnx_biases.correct(reference, model, examples_of(model, job))
        self._note(job, found)
        onnx.save(model, str(job.target))
        prepare.check_opens(job.target)


class _Keras(_Correcting):
    name = "keras"
    label = "bias correction (Keras)"
    extra = "tensorflow"
    requires = ("tensorflow", "keras")
    group = "tensorflow"
    accepts = frozenset({"keras"})
    produces = "keras"
    keeps_layers = True

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """An original in another format has other layers."""
        yield from super().problems(parameters, facts)
        if facts.model.format not in _OPENED:
            yield Problem("impossible", _incomparable(facts.model.format))

    def _apply(self, job: TransformJob) -> None:
        from deploykit.converters import _keras
        from deploykit.surgery.channels.keras_graph import flat
        from deploykit.surgery.correction import keras_biases
        from deploykit.transforms._weights.keras import opened

        original = job.original
        if original.source_format not in _OPENED:
            raise UnsupportedModelError(f"{_incomparable(original.source_format)}.")
        model = opened(job)
        examples = model.examples(job)
        teacher = _keras.load(original, suffix=f".{original.source_format}")
        _keras.make_stateless(teacher)
        self._note(job, keras_biases.correct(flat(teacher), model.flat, examples))
        model.save(job.target)


#: Formats of originals that can be compared layer by layer with a Keras model.
_OPENED = frozenset({"keras", "h5"})


def _incomparable(original: str) -> str:
    label = FORMATS.get(original).label
    return f"the layers of a Keras model cannot be compared with those of {label}: give the original as keras or h5"


class CorrectBias(Transform):
    """Adds E[Δy] to the biases (Nagel et al. 2019, arXiv:1906.04721)."""

    name = "correct_bias"
    label = "bias correction"
    help = (
        "Adds the mean error of each channel on calibration data to its bias, behind a step that has quantized, "
        "rounded or pruned the weights of the original model: wins back some of the accuracy without labels or "
        "training, most with few bits or depthwise convolutions. Neither smaller nor faster, and not "
        "for models that a step has trained or scaled."
    )
    family = QUANTIZE
    variants = (_Onnx(), _Keras())


ADAPTER = CorrectBias()
