"""One of the two models that a gate compares: its file, what it runs on, and the examples as it takes them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

from deploykit.artifacts.artifact import Artifact, is_artifact
from deploykit.core.candidate import Recipe, Target
from deploykit.core.contract import Contract, Declared
from deploykit.core.digest import path_digest, path_size
from deploykit.core.errors import DatasetError, ExportError, SettingError, unknown_name
from deploykit.core.model import Model, TensorSpec
from deploykit.core.settings.options import BuildOptions
from deploykit.data.dataset import Dataset
from deploykit.data.preprocess import Preprocess
from deploykit.data.split import Split
from deploykit.exporters._export import exportable_of
from deploykit.loading._load import load
from deploykit.measuring.exportable import Exportable
from deploykit.sweeping.build import build

#: Which examples are compared: parts of a dataset.
SPLITS = {
    "held_out": ("evaluation", "test"),
    "evaluation": ("evaluation",),
    "test": ("test",),
    "all": ("train", "evaluation", "test"),
}


@dataclass(frozen=True)
class Contestant:
    """One of both models.

    Attributes:
        name: For people.
        path: Model file or folder.
        format: Its format.
        target: What it runs on.
        contract: How it is fed and read.
        data: The compared examples as its evaluation split, with its preprocessing; no other split has any.
        digest: SHA-256: of the artifact, else of the file.
        size_bytes: Size of the model.
        imports: Modules of the user that define custom layers.
    """

    name: str
    path: Path
    format: str
    target: Target
    contract: Contract
    data: Dataset
    digest: str
    size_bytes: int
    imports: tuple[str, ...] = ()


def compared_examples(data: Any, split: str) -> Dataset:
    """The examples that both models answer, as an evaluation split.

    Raises:
        SettingError: An unknown split.
        DatasetError: The data are not a dataset, or there are none of these.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    found = Dataset.of(data)
    joined = reduce(Split.joined, (found.splits[name] for name in SPLITS[split] if len(found.splits[name])))
    none = joined.take(slice(0, 0))
    reading = replace(found.reading, given_apart=True)
    splits = {"train": none, "evaluation": joined, "test": none}
    return replace(found, splits=splits, reading=reading, contract=None)


def contestant(source: Any, data: Dataset, stack: ExitStack, options: BuildOptions) -> Contestant:
    """One of both models, from whatever it was given as.

    Args:
        source: An artifact or its folder, a model or its file, or a candidate that was built or chosen.
        data: From `compared_examples`.
        stack: Keeps the files of an artifact open.
        options: What a user says of the signature of a model file, and limits of child processes.

    Raises:
        DeploykitError: It is none of these, its files have changed, or the data do not fit it.
    """
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        source = Artifact.open(path) if is_artifact(path) else load(path)
    if isinstance(source, Artifact):
        return _of_artifact(source, data, stack)
    if isinstance(source, Model):
        return _of_candidate(build(source, Recipe(()), data, **options).exportable(), data, keep=True)
    try:
        return _of_candidate(exportable_of(source), data, keep=False)
    except SettingError as error:
        raise SettingError(
            f"Expected a model to compare, got {type(source).__name__}.",
            remedy="give an artifact or its folder, a model file, what dk.load, dk.build or report.best() returned.",
        ) from error


def _of_artifact(artifact: Artifact, data: Dataset, stack: ExitStack) -> Contestant:
    manifest = artifact.manifest
    if manifest.adopted is not None:
        raise ExportError(f"{artifact.path} was not exported by deploykit.", remedy="give its model file.")
    if problems := artifact.problems():
        raise ExportError(f"{artifact.path} is not compared: {' '.join(problems)}", remedy="export it again.")
    if not isinstance(path := stack.enter_context(artifact.opened()).model, Path):
        raise ExportError(
            f"{artifact.path} is encrypted, and is not compared: its model would be read from a disk.",
            remedy="compare the candidate that it was exported from.",
        )
    fed = _fed(data, manifest.contract, manifest.preprocess, manifest.classes, str(artifact.path))
    return Contestant(
        artifact.path.name, path, manifest.format, manifest.served_target, manifest.contract, fed, artifact.digest,
        path_size(path),
    )  # fmt: skip


def _of_candidate(item: Exportable, data: Dataset, *, keep: bool) -> Contestant:
    """A candidate's file.

    Args:
        item: The candidate.
        data: The compared examples.
        keep: Whether the item's own data are these already.
    """
    contract = item.data.checked
    fed = item.data if keep else _fed(data, contract, item.data.preprocess, item.data.classes, item.name)
    digest = path_digest(item.path)
    size = item.model.size_bytes if item.path == Path(item.model.path) else path_size(item.path)
    return Contestant(
        item.name, item.path, item.format, item.target, contract, fed, digest, size, item.model.imports
    )  # fmt: skip


def _fed(
    data: Dataset, contract: Contract, preprocess: Mapping[str, Preprocess], classes: tuple[str, ...], whose: str
) -> Dataset:
    """The examples as a model takes them that was measured or exported before.

    Raises:
        DatasetError: Inputs, shapes or classes are not the model's.
    """
    if data.classes and classes and data.classes != classes:
        raise DatasetError(
            f"The data's classes are {_few(data.classes)}; those of {whose} are {_few(classes)}.",
            remedy="give classes= in the model's order: labels are numbers in that order.",
        )
    names = _sources(data, contract, whose)
    splits = {split: part.renamed(names) for split, part in data.splits.items()}
    data = replace(data, splits=splits, preprocess=dict(preprocess), classes=data.classes or classes, contract=None)
    scored = contract.scored
    declared = Declared(
        output=scored.name,
        scores="channels_first" if scored.class_axis == 1 else scored.kind,
        state=contract.state,
        constants=contract.constants,
        boxes=contract.detection.said if contract.detection else {},
        generate=contract.decoder.write if contract.decoder else 0,
    )
    found = data.check(_signature(contract, whose), declared)
    return replace(found, contract=replace(contract, labels=found.checked.labels))


def _few(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:5])}{', …' if len(names) > 5 else ''} ({len(names)})"


def _sources(data: Dataset, contract: Contract, whose: str) -> dict[str, str]:
    """Model's input → array of the data: by the model's name, by the name it had when it was measured, or the only."""
    wanted = [meaning for meaning in contract.inputs if meaning.is_asked]
    found = {}
    for meaning in wanted:
        name = next((name for name in (meaning.name, meaning.source) if name in data.inputs), "")
        found[meaning.name] = name or (data.inputs[0] if len(wanted) == len(data.inputs) == 1 else "")
    if "" in found.values() or len(set(found.values())) < len(found):
        raise DatasetError(
            f"{whose} takes {', '.join(found)}; the data have {', '.join(data.inputs)}.",
            remedy="name the arrays as the model names its inputs.",
        )
    return found


def _signature(contract: Contract, whose: str) -> Model:
    """A model of which the signature alone is known: that of a contract."""
    inputs = (TensorSpec(i.name, i.shape, i.dtype, i.scale, batch_axis=i.batch_axis) for i in contract.inputs)
    outputs = (TensorSpec(o.name, o.shape, o.dtype, batch_axis=o.batch_axis) for o in contract.outputs)
    return Model(whose, "", tuple(inputs), tuple(outputs), (), 0, 0, "")
