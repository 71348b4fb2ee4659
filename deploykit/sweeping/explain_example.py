"""``dk.explain_example``: what the answer of any model to one example rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.artifact import Artifact
from deploykit.artifacts.encryption import check_key
from deploykit.core import extras
from deploykit.core.candidate import Recipe
from deploykit.core.errors import ExportError, SettingError, unknown_name
from deploykit.core.model import Model
from deploykit.data.dataset import Dataset
from deploykit.exporters._export import SupportsExport
from deploykit.measuring.attribution.attributing import Attributed, Hiding, Runnable, attribute
from deploykit.measuring.attribution.layout import Layout
from deploykit.measuring.exportable import Exportable
from deploykit.planning.routes import describe
from deploykit.reporting.attribution.example import (
    BACKGROUND,
    Subject,
    by_name,
    index_of,
    layouts_of,
    method_of,
    names_of,
    raw_example,
    shapes_of,
    without_batch,
)
from deploykit.reporting.attribution.explained import InputExplanation, correlation
from deploykit.reporting.attribution.explanation import Explanation
from deploykit.reporting.places import place
from deploykit.sandbox.supervisor import OnReport
from deploykit.sweeping.build import build

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Other seeds by which it is found out what chance changes.
TWINS = 3
_METHODS = ("auto", "occlusion", "kernel_shap")


def explain_example(
    candidate: Model | SupportsExport | Artifact | str | Path,
    x: Any,
    *,
    against: Model | SupportsExport | Artifact | str | Path | None = None,
    data: Any = None,
    split: str = "evaluation",
    answer: int | str | Sequence[int] | None = None,
    method: str = "auto",
    background: Any = None,
    names: Sequence[str] | Mapping[str, Sequence[str]] = (),
    patch: int | None = None,
    tilings: int = 12,
    coalitions: int = 2048,
    fill: int = 0,
    seed: int = 0,
    on_report: OnReport | None = None,
) -> Explanation:
    """Show what a model's answer to one example rests on, and what another model's answer to it rests on.

    Images and series are hidden patch by patch (occlusion; Zeiler and Fergus, 2014): a value is the mean loss over the
    patches that hide a place. Tokens and words are hidden one by one. Columns of a table get Shapley values: exact ones
    for up to ten columns, KernelSHAP's for more (Lundberg and Lee, 2017). The model is run in a child process.

    Args:
        candidate: A candidate of a report (``report.best()``), a built one, an artifact or its folder, or a model from
            ``dk.load``, with ``data``.
        x: One raw example, with or without the axis of the batch, a dictionary for several inputs; or the number of an
            example of ``split``.
        against: Another model of the same task, seen through the same masks; ``"original"``: the one that the candidate
            was made from.
        data: A Dataset or a pair (x, y): for a model from ``dk.load``, and where examples are given by their number.
        split: The split of an example that is given by its number.
        answer: A class by name or index, or the index of a number, one for each axis; None: the likeliest class, of
            ``against`` where it is given.
        method: ``"occlusion"``, ``"kernel_shap"`` (tables and tokens), or ``"auto"``.
        background: Raw examples that stand for what is not shown, batch first; None: calibration examples of the data,
            or the recorded ones of an artifact. Patches are filled with their mean.
        names: Of the columns of a table, by input where there are several.
        patch: Side of a patch in pixels or steps; None: a sixth of each side.
        tilings: How many ways to cover an example with patches, each shifted at random.
        coalitions: Coalitions of columns that are looked at where not all can be.
        fill: What takes the place of a hidden token; it is taken for padding where it occurs.
        seed: Of shifts and coalitions.
        on_report: Called with (done, total, words).

    Returns:
        Values for each input (``values``), a chart, and sentences. It shows itself in a notebook.

    Raises:
        SettingError: A setting that does not fit the model, or models that do not take the same examples.
        DatasetError: The example does not fit the model.
        CandidateError: There is no file, or the answer is not a number.

    Example:
        >>> found = dk.explain_example(model, data.sample(1), data=data)
        >>> found.parts[0].method, found.values["image"].shape
        ('occlusion', (28, 28))
        >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
        >>> both = dk.explain_example(built, 0, against="original")
        >>> both.correlation > 0.9
        True
    """
    extras.check("sweep")
    _check(method, patch, tilings, coalitions)
    hiding = Hiding(patch, tilings, coalitions, fill, seed)
    given = Dataset.of(data) if data is not None else None
    other = _original(candidate) if isinstance(against, str) and against == "original" else against
    mine = _subject(candidate, given, background)
    theirs = None if other is None else _subject(other, given, background)
    raw = raw_example(mine, x, split)
    feeds = [subject.prepare(raw) for subject in (mine, theirs) if subject is not None]
    layouts = [layouts_of(subject, fed) for subject, fed in zip((mine, theirs), feeds, strict=False) if subject]
    if theirs is not None and layouts[0] != layouts[1]:
        raise SettingError(
            f"The models do not take the same examples: {shapes_of(feeds[0])} and {shapes_of(feeds[1])}.",
            remedy="compare models of one task whose inputs have the same names and shapes.",
        )
    methods = {one.input: method_of(one, method) for one in layouts[0]}
    wanted = index_of(answer, mine.classes)
    beside = None
    if theirs is not None:
        found = attribute(theirs.model, feeds[1], theirs.background, layouts[0], methods, hiding, wanted, twins=TWINS,
                          on_report=on_report)  # fmt: skip
        wanted = found.answer
        beside = _explanation(theirs, found, feeds[1], layouts[0], methods, names)
    twins = TWINS if beside is None else 0
    found = attribute(mine.model, feeds[0], mine.background, layouts[0], methods, hiding, wanted, twins=twins,
                      on_report=on_report)  # fmt: skip
    return _explanation(mine, found, feeds[0], layouts[0], methods, names, beside)


def _check(method: str, patch: int | None, tilings: int, coalitions: int) -> None:
    if method not in _METHODS:
        raise unknown_name("method", method, _METHODS)
    for name, value, least in (("patch", patch, 1), ("tilings", tilings, 1), ("coalitions", coalitions, 16)):
        if value is not None and (type(value) is not int or value < least):
            raise SettingError(f"{name} must be a whole number from {least}, got {value!r}.")


def _subject(candidate: Any, data: Dataset | None, background: Any) -> Subject:
    if isinstance(candidate, str | Path):
        candidate = Artifact.open(candidate)
    if isinstance(candidate, Artifact):
        return _artifact(candidate, data, background)
    words = "the original model"
    if isinstance(candidate, Model):
        if data is None:
            raise SettingError(
                "A model alone does not say how raw examples become its inputs.",
                remedy="give data=, a Dataset or a pair (x, y).",
            )
        candidate = build(candidate, Recipe(()), data)
    elif not isinstance(candidate, SupportsExport):
        raise SettingError(
            f"Expected a model, a candidate or an artifact, got {type(candidate).__name__}.",
            remedy="give what dk.load, report.best(), dk.build or dk.export returns, or the folder of an artifact.",
        )
    item = candidate.exportable()
    if item.recipe.steps:
        words = f"{describe(item.recipe)} on {place(item.target)}"
    rows = (
        item.data.calibration(slice(0, BACKGROUND))
        if background is None
        else item.data.prepare(by_name(background, item.data.inputs, "background"))
    )
    return Subject(Runnable.of_file(words, item), item.data.preprocess, item.data.classes, rows, item.data)


def _artifact(artifact: Artifact, data: Dataset | None, background: Any) -> Subject:
    if changed := artifact.problems():
        raise ExportError(f"{artifact.path} is not what was exported: {changed[0]}", remedy="export it again.")
    manifest = artifact.manifest
    check_key(manifest.encryption, artifact.key, str(artifact.path))
    arguments = {"artifact": str(artifact.path), "key": "" if artifact.key is None else artifact.key.text}
    model = Runnable(
        f"{manifest.name} on {place(manifest.target)}", manifest.target.runtime, manifest.contract,
        "deploykit.artifacts.attribution:attribute", arguments,
    )  # fmt: skip
    found = Subject(model, manifest.preprocess, manifest.classes, {}, data)  # the child has its recorded examples
    if background is None:
        return found
    raw = by_name(background, tuple(one.name for one in manifest.inputs), "background")
    return replace(found, background=found.prepare(raw))


def _original(candidate: Any) -> SupportsExport:
    """The model that a candidate was made from, as it is run."""
    report = getattr(candidate, "report", None)
    if report is not None:
        baseline: SupportsExport = report.choice_for(report.baseline)
        return baseline
    if not isinstance(candidate, SupportsExport):
        raise SettingError(
            'The setting against="original" applies to a candidate of a report and to a built one, not to '
            f"{'an artifact' if isinstance(candidate, Artifact | str | Path) else 'a model itself'}.",
            remedy="give the other model itself.",
        )
    item: Exportable = candidate.exportable()
    return build(item.model, Recipe(()), item.data)


def _explanation(
    subject: Subject,
    found: Attributed,
    feeds: Mapping[str, NDArray[Any]],
    layouts: Sequence[Layout],
    methods: Mapping[str, str],
    names: Sequence[str] | Mapping[str, Sequence[str]],
    against: Explanation | None = None,
) -> Explanation:
    parts = tuple(
        InputExplanation(
            one.input, one.kind, methods[one.input], found.values[one.input],
            names_of(one, without_batch(feeds[one.input]), names, len(layouts)), without_batch(feeds[one.input]),
        )
        for one in layouts
    )  # fmt: skip
    alike = [correlation({name: found.values[name] for name in twin}, twin) for twin in found.twins]
    stability = min((one for one in alike if one is not None), default=None)
    classes = subject.contract.scored.is_classes
    known = subject.classes or subject.contract.labels.named
    index = found.answer[-1]
    answer = known[index] if classes and index < len(known) else ", ".join(map(str, found.answer))
    return Explanation(
        subject.model.words, answer, found.answer, found.score, found.base, parts, stability, found.noise, found.runs,
        classes, against,
    )  # fmt: skip
