"""Whether data fit a model: found before any work is done."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.core.model import align, plain_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.core.dataset import Dataset
    from deploykit.core.model import Model, TensorSpec


def fitted(data: Dataset, model: Model) -> Dataset:
    """The dataset with its inputs named as the model's; see `Dataset.check`."""
    data = data.widened([spec.name for spec in model.inputs])
    if len(data.inputs) != len(model.inputs):
        raise DatasetError(
            f"the model takes {len(model.inputs)} input(s) ({'; '.join(map(str, model.inputs))}), the data have "
            f"{len(data.inputs)}: {', '.join(data.inputs)}.",
            remedy="give a dictionary with one array for each input.",
        )
    order = align([i.name for i in model.inputs], data.inputs)
    names = {spec.name: data.inputs[j] for spec, j in zip(model.inputs, order, strict=True)}
    probe = data.batch("evaluation", slice(0, 1))
    for spec in model.inputs:
        _check_input(spec, probe[names[spec.name]])
    _check_guessed(names, model)
    _check_classes(data, model)
    return replace(
        data,
        splits={s: p.renamed(names) for s, p in data.splits.items()},
        preprocess={new: data.preprocess[old] for new, old in names.items() if old in data.preprocess},
    )


def _check_input(spec: TensorSpec, batch: NDArray[Any]) -> None:
    wanted, given = spec.example_shape, batch.shape[1:]
    if wanted is not None and (
        len(wanted) != len(given) or any(w not in (None, g) for w, g in zip(wanted, given, strict=True))
    ):
        shown = tuple("any" if w is None else w for w in wanted)
        raise DatasetError(
            f"input {spec.name!r}: the model takes examples of shape {shown}, the data give {given} after "
            "preprocessing.",
            remedy="set reshape= or resize= in Preprocess (--reshape, --resize), or give the right data.",
        )
    text = batch.dtype.kind in "SUO"
    if text != (spec.dtype == "string"):
        raise DatasetError(f"input {spec.name!r}: the model takes {spec.dtype}, the data are {batch.dtype}.")
    whole = spec.dtype == "bool" or spec.dtype.lstrip("u").startswith("int")
    if whole and not spec.scale and batch.dtype.kind == "f":
        raise DatasetError(
            f"input {spec.name!r}: the model takes {spec.dtype}, the data are {batch.dtype} after preprocessing.",
            remedy="give whole numbers, and leave out scale= and offset=.",
        )


def _check_guessed(names: dict[str, str], model: Model) -> None:
    """Inputs that were paired by their order alone must not be interchangeable."""
    guessed = [s for s in model.inputs if plain_name(s.name) != plain_name(names[s.name])]
    forms = [(s.example_shape, s.dtype) for s in guessed]
    if len(set(forms)) < len(forms):
        raise DatasetError(
            f"cannot tell which data belong to the model's inputs {', '.join(s.name for s in guessed)}: the data are "
            f"called {', '.join(names[s.name] for s in guessed)}.",
            remedy="name the arrays as the model names its inputs.",
        )


def _check_classes(data: Dataset, model: Model) -> None:
    shape = model.outputs[0].shape if model.outputs else None
    outputs = shape[1] if shape and len(shape) == 2 else None
    labels = [s.labels for s in data.splits.values() if s.labels is not None and len(s.labels)]
    if outputs is None or outputs < 2 or any(part.dtype.kind != "i" or part.ndim != 1 for part in labels):
        return
    highest = max((int(part.max()) for part in labels), default=-1)
    if highest >= outputs:
        raise DatasetError(
            f"the labels go up to class {highest}, the model has {outputs} outputs (classes 0 to {outputs - 1}).",
            remedy="number classes from 0, or use the model that was trained on these classes.",
        )
    if data.classes and len(data.classes) != outputs:
        raise DatasetError(
            f"{len(data.classes)} class names are given, the model has {outputs} outputs.",
            remedy="give one name an output, in the order of the outputs.",
        )
