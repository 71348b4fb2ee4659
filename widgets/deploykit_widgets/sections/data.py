"""Data: samples, classes, splits, and the smallest change of accuracy they can confirm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from deploykit.core.errors import SettingError
from deploykit.core.parameter import complete
from deploykit.core.resolution import TYPICAL_FLIPS, half_width
from deploykit.core.result import GROUPS
from deploykit.core.settings.synthesis import BETWEEN, PARAMETERS, limits
from deploykit.data.dataset import Dataset
from deploykit.data.preprocess import Preprocess
from deploykit.reporting import numbers as rounded
from deploykit.reporting.evidence import samples
from deploykit.reporting.evidence.pictures import png
from deploykit_widgets.actions.commands import Commands
from deploykit_widgets.answers import Command, Later, Reply
from deploykit_widgets.data import settings as kinds
from deploykit_widgets.data.fit import doubtful, fits, of_reading, on_screen, remedies
from deploykit_widgets.data.notebook_names import found_in, names_of_data
from deploykit_widgets.data.typed import FIELDS, as_typed, fraction, numbers, preprocess_of, shape
from deploykit_widgets.listing import listing
from deploykit_widgets.sections._contract import Hint, Panel
from deploykit_widgets.state import DataSource, State

__all__ = ["DataSection", "balance", "facts", "fraction", "resolution", "shape", "steps"]

_SAMPLES = 12
_MOST_CLASSES = 200
#: Classes are called balanced if the largest has at most this many times the examples of the smallest.
_BALANCED = 1.5
_ENDINGS = (".npz", ".csv", ".tsv", ".jsonl", ".parquet", ".json")


class DataSection(Panel):
    """What the data are."""

    name = "data"
    title = "Data"
    order = 20
    hinted = ("data", "model", "plan", "misfit")
    fields = ("data", "data_source", "data_name", "synthesis", "synthesizing", "plan", "misfit", "goal")

    def __init__(self, commands: Commands) -> None:
        super().__init__(commands)
        self._facts: tuple[Dataset | None, Any] = (None, None)

    @classmethod
    def hint(cls, state: State) -> Hint:
        """How many examples there are, and whether they fit the model."""
        examples = f"{len(state.data.splits['evaluation']):,} to evaluate" if state.data else ""
        return Hint(examples.replace(",", "\u2009"), done=fits(state), wrong=doubtful(state))

    def value(self) -> Any:
        """See ``IData`` in data/section.ts."""
        state = self._state
        if state.data is not self._facts[0]:
            self._facts = (state.data, None if state.data is None else facts(state.data))
        source, shown = state.data_source, self._facts[1]
        if shown is not None:
            shown = {**shown, "splits": [{"name": name, "count": count} for name, count in sizes(state).items()]}
        return {
            "facts": shown,
            "name": state.data_name,
            "path": source.path if source else "",
            **as_typed(source.preprocess if source else None),
            "settings": kinds.as_typed(source.settings) if source else {},
            "resolution": resolution(state, classes=bool(shown and shown["classes"])),
            "meaning": meaning(state),
            "synthesis": synthesis(state),
        }

    def commands(self) -> Mapping[str, Command]:
        """Loading, choosing, and the samples."""
        return {
            "load_data": self._load,
            "check_setting": _check_setting,
            "data_fields": _fields,
            "cancel_data": lambda: self._commands.cancel_loading("data"),
            "use_variable": self._use,
            "browse_data": self._browse,
            "data_names": names_of_data,
            "data_samples": self._samples,
            "apply_remedy": self._apply,
            "synthesize": self._synthesize,
            "leave_out_synthesized": self._commands.leave_out_synthesized,
        }

    def _load(self, path: str, **typed: str) -> None:
        source = self._state.data_source
        # Settings without a field in the panel keep the values they have for these data.
        before = source if source is not None and source.path == path.strip() else None
        steps = {name: text for name, text in typed.items() if name in FIELDS}
        step = preprocess_of(steps, before.preprocess if before else None)
        others = {name: text for name, text in typed.items() if name not in FIELDS}
        reader, settings = kinds.reading(path.strip(), others, before.settings if before else {})
        self._commands.load_data(DataSource(path.strip(), reader, step, settings), of_reading)

    def _apply(self, place: int) -> None:
        """Apply an interpretation of data or model that the panel suggests."""
        state = self._state
        found = remedies(state)
        if not 0 <= place < len(found) or not found[place].label:
            return
        setting = found[place].setting
        if "preprocess" in setting:
            step = Preprocess.from_json(next(iter(setting["preprocess"].values())))
            if state.data_source is not None:
                self._commands.load_data(replace(state.data_source, preprocess=step), of_reading)
            else:
                self._commands.preprocess(step)
        else:
            self._commands.declare(setting)

    def _use(self, name: str) -> None:
        """Use a variable of the notebook."""
        self._commands.use(data=found_in(name), name=name)

    def _synthesize(self, **typed: str) -> None:
        """Make inputs from the model, with settings as they were typed."""
        self._commands.synthesize(synthesis_of(typed))

    def _browse(self, folder: str = "") -> Later:
        return Later("browse", lambda: listing(folder, lambda p: p.suffix.lower() in _ENDINGS))

    def _samples(self, digest: str) -> Later:
        """The first examples of the evaluation split, as pictures or as cells of a table."""
        data = self._state.data
        return Later("samples", lambda: _sampled(data) if data is not None and data.digest == digest else Reply([]))


def synthesis(state: State) -> dict[str, Any]:
    """See ``ISynthesis`` in data/section.ts."""
    used = state.synthesis.settings if state.synthesis else {}
    settings = [
        {"name": p.name, "label": p.name.capitalize(), "help": p.help, "choices": list(p.choices),
         "value": str(used.get(p.name, p.default)), "example": ""}
        for p in PARAMETERS
    ]  # fmt: skip
    low_high = ", ".join(f"{value:g}" for value in used.get("between", ()))
    settings.append({"name": "between", "label": "Between", "help": BETWEEN, "choices": [], "value": low_high,
                     "example": "0, 1"})  # fmt: skip
    alone = state.synthesis is not None and state.synthesis.given is None
    return {
        "settings": settings,
        "used": state.synthesis is not None,
        "alone": alone,
        "running": state.synthesizing,
    }


def synthesis_of(typed: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of ``dk.synthesize`` that differ from its defaults.

    Raises:
        SettingError: A field does not hold what it is for, or is not one of its settings.
    """
    given: dict[str, Any] = {}
    for name, text in typed.items():
        words = text.strip()
        given[name] = int(words) if words.isdecimal() else words
    between = numbers("between", str(given.pop("between", "")))
    whole = complete(PARAMETERS, given, "synthesize")
    found: dict[str, Any] = {p.name: whole[p.name] for p in PARAMETERS if whole[p.name] != p.default}
    return found if between is None else {**found, "between": limits(between)}


def _check_setting(name: str, text: str) -> None:
    """Read a field as soon as it is typed.

    Raises:
        SettingError: It does not hold what it is for; the field is called what the screen calls it.
    """
    if name in kinds.SETTINGS:
        kinds.read_setting(name, text)
        return
    try:
        preprocess_of({name: text})
    except SettingError as error:
        raise SettingError(_sentence(on_screen(error.message)), remedy=error.remedy) from None


def _fields(path: str, file: str = "") -> Later:
    """See ``IKind`` in data/kind.tsx."""

    def look() -> dict[str, Any]:
        of, found = kinds.fields_of(path.strip(), file.strip())
        fields = [{"name": s.name, "label": s.label, "help": s.help, "example": s.example} for s in found]
        return {"of": of, "fields": fields}

    return Later("fields", look)


def sizes(state: State) -> dict[str, int]:
    """Examples of each split: as the sweep splits them, once there is a plan."""
    if state.plan is not None and state.plan.examples:
        return dict(state.plan.examples)
    return {name: len(split) for name, split in state.data.splits.items()} if state.data is not None else {}


def facts(data: Dataset) -> dict[str, Any]:
    """What is shown of the data."""
    counts = samples.class_counts(data)
    return {
        "examples": len(data),
        "digest": data.digest,
        "inputs": [_input(data, n) for n in data.inputs],
        "labels": _labels(data, counts),
        "preprocessing": steps(data),
        "reading": read(data),
        "classes": [{"name": name, "count": n} for name, n in counts[:_MOST_CLASSES]],
        "moreClasses": max(0, len(counts) - _MOST_CLASSES),
        "balance": balance(counts),
        "pictures": samples.picture_of(data, 0) is not None,
    }


def meaning(state: State) -> dict[str, Any] | None:
    """How everything is interpreted, and whether the model does its job that way; None before that is known."""
    known = [{"text": r.text, "remedy": r.code, "label": r.label} for r in remedies(state)]
    if state.misfit is not None and state.data is not None:
        way = "" if known else on_screen(state.misfit.remedy)
        warnings = [on_screen(state.misfit.message), *([_sentence(way)] if way else [])]
        return {"lines": [], "ok": False, "summary": "", "warnings": warnings, "suspicions": known}
    examined = state.plan.examined if state.plan is not None and state.data is not None else None
    if examined is None:
        return None
    check = examined.check
    warnings = [on_screen(words) for words in ((examined.failure,) if examined.failure else ()) + check.warnings]
    return {
        "lines": [[_sentence(heading), said] for heading, said in examined.contract.lines],
        "ok": check.ok and not examined.failure,
        "summary": _sentence(check.summary),
        "warnings": warnings,
        "suspicions": known,
    }


def resolution(state: State, *, classes: bool) -> dict[str, Any]:
    """The smallest change of accuracy the data can confirm, and whether that is enough for the goal.

    Args:
        state: Data, plan and goal.
        classes: Whether the labels are classes.
    """
    data, limit = state.data, state.goal.max_drop
    if data is None:
        return {"words": "", "enough": True}
    if not data.labelled:
        return {
            "words": "No labels: agreement with the original model is measured instead of accuracy.",
            "enough": True,
        }
    if not classes:
        return {"words": "", "enough": True}
    count = sizes(state)["evaluation"]
    own = data.splits["evaluation"]
    alone = state.plan.evaluation_groups or count if state.plan is not None else own.independent
    grouped = alone < count
    resolves = _resolves(state, alone if grouped else count)
    size = f"{count:,} samples{f' of {alone:,} {GROUPS}' if grouped else ''}".replace(",", "\u2009")
    if resolves > limit:
        words = (
            f"{size} give about ± {100 * resolves:.2g} pp: a limit of {rounded.limit(limit)} cannot be settled. "
            f"Add {GROUPS if grouped else 'samples'} or raise the limit."
        )
        return {"words": words, "enough": False}
    return {"words": f"{size} can resolve {100 * resolves:.2f} pp.", "enough": True}


def _resolves(state: State, count: int) -> float:
    """The value from the plan, or without a plan, for a change that flips a typical number of answers."""
    if state.plan is not None and state.plan.resolves:
        return float(state.plan.resolves)
    return half_width(TYPICAL_FLIPS, count)


def balance(counts: list[tuple[str, int]]) -> dict[str, Any]:
    """Whether the classes have about the same number of examples, as a sentence."""
    if len(counts) < 2:
        return {"words": "", "even": True}
    name_of_least, least = min(counts, key=lambda c: c[1])
    name_of_most, most = max(counts, key=lambda c: c[1])
    if most <= _BALANCED * least:
        each = f"{least}" if least == most else f"{least} to {most}"
        return {"words": f"Balanced: {each} examples of each class.", "even": True}
    words = f"Not balanced: class {name_of_most} has {most} examples, {name_of_least} has {least}."
    return {"words": words, "even": False}


def steps(data: Dataset) -> list[str]:
    """Preprocessing in words, one item per input that has any."""
    found = []
    for name, step in data.preprocess.items():
        if step.words():
            found.append((f"{name}: " if len(data.inputs) > 1 else "") + ", ".join(step.words()))
    return found


def _input(data: Dataset, name: str) -> str:
    array = data.splits["evaluation"].inputs[name]
    return f"{name}: {array.dtype} ({', '.join(map(str, array.shape[1:]))})"


def read(data: Dataset) -> list[str]:
    """How the data were interpreted, what was left out, and anything unusual, in short lines."""
    reading = data.reading
    if not reading.source:
        return list(reading.notes)
    named = [line if line.startswith("input") else f"input {line}" for line in reading.inputs]
    labels = [f"labels {reading.labels}"] if reading.labels else []
    left_out = [f"left out: {words}" for words in reading.left_out]
    return [_sentence(words) for words in (*named, *labels, *left_out, *reading.notes)]


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _labels(data: Dataset, counts: list[tuple[str, int]]) -> str:
    labels = data.labels()
    if labels is None:
        return "none"
    if counts:
        return f"{len(counts)} class{'' if len(counts) == 1 else 'es'}"
    if labels.dtype.kind in "SUO":
        return "texts"
    if labels.dtype.kind != "f" and labels.ndim > 1:
        return data.reading.labels or f"whole numbers of shape {labels.shape[1:]}"
    return f"real numbers from {float(labels.min()):.4g} to {float(labels.max()):.4g}"


def _sampled(data: Dataset) -> Reply:
    found: list[dict[str, Any]] = []
    pictures: list[bytes] = []
    for i in range(min(_SAMPLES, len(data.splits["evaluation"]))):
        picture = png(data, i)
        cells = [] if picture is not None else samples.cells_of(data, i)
        found.append({"index": i, "label": samples.label_of(data, i), "cells": cells})
        if picture is not None:
            pictures.append(picture.data)
    return Reply(found, pictures)


ADAPTER = DataSection
