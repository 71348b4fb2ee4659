"""What techniques expect of a model and ensure of what they make of it, checked on files as they are stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploykit.converters._contract import Job
from deploykit.core.errors import CandidateError, DeploykitError, ModelFileError, UnsupportedModelError
from deploykit.core.model import Model, TensorSpec
from deploykit.core.problem import Effect
from deploykit.core.serial import Plain
from deploykit.loading._contract import FORMATS, Weight

#: Kernels that a layer has at most: of each, one weight always stays.
_KERNELS = 4


@dataclass(frozen=True)
class ModelFacts(Plain):
    """What a format's reader finds in a file.

    Attributes:
        format: Format of the file.
        inputs: What it takes.
        outputs: What it gives.
        parameter_count: How many parameters it has.
        quantized: What shows that it is quantized; "" when nothing does.
    """

    format: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameter_count: int
    quantized: str

    @classmethod
    def of(cls, path: Path, format_name: str, job: Job) -> ModelFacts | None:
        """The facts of a file; None when its reader cannot find them without running it, or is not installed.

        Raises:
            ModelFileError: The file is damaged.
        """
        form = FORMATS.get(format_name)
        if form.missing():
            return None
        found = form.read(path, trusted=job.trusted, imports=job.imports)
        if not found.outputs:
            return None
        size = path.stat().st_size if path.is_file() else 0
        model = Model(
            str(path), format_name, found.inputs, found.outputs, found.layers, found.parameter_count, size, ""
        )
        return cls(format_name, found.inputs, found.outputs, found.parameter_count, form.quantized(model))


@dataclass(frozen=True)
class Outcome:
    """What a technique has made.

    Attributes:
        path: The file that it has written.
        before: Facts of the model that it was given; None when they are not known.
        after: Facts of the file.
        names: How the file calls inputs and outputs: ``{"inputs": {name before: name now}, "outputs": …}``.
        units: What was changed, ``[name, type, number of weights]`` for each; None when that was not noted.
    """

    path: Path
    before: ModelFacts | None
    after: ModelFacts
    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    units: Sequence[Sequence[Any]] | None = None

    def weights(self) -> Iterator[Weight]:
        """The weight tensors as they are stored."""
        return FORMATS.get(self.after.format).weights(self.path)


@dataclass(frozen=True)
class Done:
    """Who did something to a model before.

    Attributes:
        step: Label of the step; "" for the original model, which is like that.
        shown: What shows it in the original model.
    """

    step: str
    shown: str = ""


class Condition(ABC):
    """Something that holds of a model, before a technique or after it."""

    def foreseen(self, label: str, done: Mapping[Effect, Done]) -> str:
        """Why it will not hold, known before anything is built; "" when nothing speaks against it.

        Args:
            label: The technique that expects it.
            done: What steps before have done, or what the original model is like.
        """
        del label, done
        return ""

    @abstractmethod
    def broken(self, outcome: Outcome) -> str:
        """How a file breaks it, for example ``"its outputs are …"``; "" when it holds.

        Raises:
            UnsupportedModelError: The file's format does not list what must be known.
        """


@dataclass(frozen=True)
class Without(Condition):
    """An effect is not there.

    Attributes:
        effect: The effect.
        words: What a model with it is, for example ``"already quantized"``.
        order: What to change about the order of steps.
        remedy: What to do about an original model that is like that.
    """

    effect: Effect
    words: str
    order: str = ""
    remedy: str = ""

    def foreseen(self, label: str, done: Mapping[Effect, Done]) -> str:
        """What has the effect."""
        if (by := done.get(self.effect)) is None:
            return ""
        if by.step:
            return "; ".join(filter(None, (f"{label} after {by.step}: it is {self.words}", self.order)))
        return "; ".join(filter(None, (f"the model is {self.words}: {by.shown}", self.remedy)))

    def broken(self, outcome: Outcome) -> str:
        """Nothing: a file does not show all effects, and those of the steps before are known."""
        return ""


@dataclass(frozen=True)
class After(Condition):
    """A step before has had one of some effects.

    Attributes:
        effects: The effects.
        words: What the technique does, which needs that.
        order: What to change about the order of steps.
    """

    effects: frozenset[Effect]
    words: str
    order: str

    def foreseen(self, label: str, done: Mapping[Effect, Done]) -> str:
        """What is missing."""
        if any(effect in self.effects and by.step for effect, by in done.items()):
            return ""
        return f"{label} {self.words}, and no step before has done that; {self.order}"

    def broken(self, outcome: Outcome) -> str:
        """Nothing: what steps before have done is not in the file."""
        return ""


@dataclass(frozen=True)
class SameSignature(Condition):
    """Inputs and outputs are those of the model before, by name, shape and type.

    Attributes:
        types: Whether types must be the same.
    """

    types: bool = True

    def broken(self, outcome: Outcome) -> str:
        """The first tensor that differs."""
        if outcome.before is None:
            return ""
        for what in ("inputs", "outputs"):
            renamed = outcome.names.get(what, {})
            wanted = {renamed.get(s.name, s.name): s for s in getattr(outcome.before, what)}
            found = {s.name: s for s in getattr(outcome.after, what)}
            if wanted.keys() != found.keys():
                return f"its {what} are {_names(found)} instead of {_names(wanted)}"
            for name, spec in wanted.items():
                if not _fits(spec, found[name], types=self.types):
                    return f"its {what[:-1]} {name!r} is {found[name]} instead of {spec}"
        return ""


@dataclass(frozen=True)
class Quantized(Condition):
    """Numbers of fewer bits than 32 are stored."""

    def broken(self, outcome: Outcome) -> str:
        """What is stored instead."""
        if outcome.after.quantized:
            return ""
        stored = {w.stored for w in outcome.weights()}
        return "" if stored - {"float32", "float64"} else f"it stores {' and '.join(sorted(stored)) or 'no weights'}"


@dataclass(frozen=True)
class Zeros(Condition):
    """A share of the weights is exactly zero.

    Attributes:
        share: The share, of the weights that the technique has noted to have changed, or of all when it has noted none.
    """

    share: float

    def broken(self, outcome: Outcome) -> str:
        """The share that is stored."""
        import numpy as np

        zeros = total = 0
        for weight in outcome.weights():
            values = weight.load()
            zeros, total = zeros + int(np.count_nonzero(values == 0)), total + values.size
        about = total if outcome.units is None else sum(int(size) for _, _, size in outcome.units)
        spared = _KERNELS * (1 if outcome.units is None else len(outcome.units))
        if zeros >= self.share * about - spared:
            return ""
        return f"{zeros:,} of {about:,} weights are zero instead of {100 * self.share:g} %"


@dataclass(frozen=True)
class Smaller(Condition):
    """There are fewer parameters than before."""

    def broken(self, outcome: Outcome) -> str:
        """How many there are."""
        before, after = outcome.before, outcome.after
        if before is None or after.parameter_count < before.parameter_count:
            return ""
        return f"it has {after.parameter_count:,} parameters, and had {before.parameter_count:,}"


#: What every quantizer expects: that it is left something to do.
FLOAT_LAYERS = Without(
    "fully quantized", "already quantized", "let the first step leave layers out with exclude",
    "quantize the float model it was made from",
)  # fmt: skip
#: What effects look like in a file.
_SHOWN: dict[Effect, Condition] = {"quantized": Quantized(), "smaller": Smaller()}


def shown(effects: frozenset[Effect]) -> tuple[Condition, ...]:
    """What must hold of a file that has these effects. How many zeros ``sparse`` stands for, only a technique knows."""
    return tuple(condition for effect, condition in _SHOWN.items() if effect in effects)


def check(
    label: str, job: Job, before: ModelFacts | None, produces: str, conditions: Iterable[Condition],
    units: Sequence[Sequence[Any]] | None,
) -> None:  # fmt: skip
    """Hold the file that a technique has written against what it ensures. A note says what could not be checked.

    Args:
        label: The technique.
        job: What it has worked on.
        before: Facts of the model that it was given; None when they are not known.
        produces: Format of the file.
        conditions: What it ensures.
        units: What it has noted to have changed.

    Raises:
        CandidateError: The file cannot be read, or breaks a condition.
    """
    author = "report this to the technique's author."
    try:
        after = ModelFacts.of(job.target, produces, job)
    except ModelFileError as error:
        raise CandidateError(
            f"{label} has written a file that cannot be read: {error.message}", remedy=author
        ) from error
    except DeploykitError as error:
        job.notes["not_checked"] = [error.message]
        return
    if after is None:
        job.notes["not_checked"] = [f"the signature of {produces} files is not known without running them"]
        return
    outcome = Outcome(job.target, before, after, job.notes.get("names", {}), units)
    for condition in conditions:
        try:
            found = condition.broken(outcome)
        except UnsupportedModelError as error:  # the format does not list its weights
            job.notes.setdefault("not_checked", []).append(error.message)
            continue
        if found:
            raise CandidateError(f"{label} does not keep its word: {found}.", remedy=author)


def _names(specs: Mapping[str, TensorSpec]) -> str:
    return ", ".join(map(repr, sorted(specs)))


def _fits(wanted: TensorSpec, found: TensorSpec, *, types: bool) -> bool:
    """Whether tensors have the same type, and the same shape where both are known."""
    if types and wanted.dtype != found.dtype:
        return False
    if wanted.shape is None or found.shape is None:
        return True
    if len(wanted.shape) != len(found.shape):
        return False
    return all(a == b or a is None or b is None for a, b in zip(wanted.shape, found.shape, strict=True))
