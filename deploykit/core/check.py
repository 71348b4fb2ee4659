"""What was found when the original model was run on a few examples, before work is spent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from deploykit.core.contract import Contract
from deploykit.core.serial import Plain


@dataclass(frozen=True)
class Suspicion(Plain):
    """Another reading of data or model under which the original model does much better.

    Attributes:
        kind: ``"scale"``, ``"channels"``, ``"axes"``, ``"raw"``, ``"labels"``, ``"classes"``, ``"units"``,
            ``"scores"`` or ``"output"``.
        text: What was tried and what came of it, in one sentence with its numbers.
        remedy: The line of code that reads it so.
        flags: The same on the command line, "" when it has none.
        label: A short imperative, for a button.
        setting: The same as plain data: ``preprocess`` by input, ``labels_shift``, ``classes``, ``units``,
            ``scores`` or ``output``.
        value: The metric under this reading.
    """

    kind: str
    text: str
    remedy: str
    flags: str = ""
    label: str = ""
    setting: dict[str, Any] = field(default_factory=dict)
    value: float = 0.0


@dataclass(frozen=True)
class BaselineCheck(Plain):
    """Whether the original model does its job on the data as they are read.

    Attributes:
        examples: Examples it was run on.
        metric: Name of the metric; "" without labels.
        value: Its mean.
        chance: What always answering the most frequent class, or the mean, would get.
        relative: Whether the metric is an error (smaller is better).
        warnings: What looks wrong, one sentence each.
        suspicions: Other readings that explain it, the best one first.
        tried: What was tried.
        seconds: How long it took.
    """

    examples: int = 0
    metric: str = ""
    value: float = 0.0
    chance: float = 0.0
    relative: bool = False
    warnings: tuple[str, ...] = ()
    suspicions: tuple[Suspicion, ...] = ()
    tried: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether nothing looks wrong."""
        return not self.warnings and not self.suspicions

    @property
    def summary(self) -> str:
        """The result in a sentence."""
        if not self.examples:
            return "the original model has not been run yet"
        if not self.metric:
            return f"runs on {self.examples} examples; its answers were not compared with labels"
        if self.relative:
            name = self.metric.replace("_", " ")
            return (
                f"{name} {self.value:.4g} on {self.examples} examples, {self.chance:.4g} by always answering the mean"
            )
        name = "right" if self.metric == "accuracy" else self.metric.replace("_", " ")
        usual = f", {100 * self.chance:.0f} % by always giving the most frequent answer" if self.chance else ""
        return f"{100 * self.value:.0f} % {name} on {self.examples} examples{usual}"

    @property
    def lines(self) -> list[str]:
        """All of it, in sentences."""
        found = [self.summary, *self.warnings]
        found += [f"{s.text} To read it so: {s.remedy}{f' ({s.flags})' if s.flags else ''}." for s in self.suspicions]
        return found

    def __str__(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True)
class Examined(Plain):
    """The original model, run on a few examples.

    Attributes:
        contract: What everything is taken to mean, with what was seen.
        check: Whether the model does its job.
        half: Whether it computes in half precision, so that exact conversions differ by more.
        repeats: Whether it gives the same answers again.
        failure: Why it could not be run, "" when it could.

    Example:
        >>> examined = dk.examine(model, data)
        >>> examined.contract.scored.name, examined.failure
        ('class', '')
    """

    contract: Contract
    check: BaselineCheck = BaselineCheck()
    half: bool = False
    repeats: bool = True
    failure: str = ""

    @property
    def warnings(self) -> list[str]:
        """What the user should know before any work."""
        found = [*self.check.warnings, *(f"{s.text} To read it so: {s.remedy}." for s in self.check.suspicions)]
        return [self.failure, *found] if self.failure else found

    def __str__(self) -> str:
        lines = [str(self.contract), *(f"{'check':<8}{line}" for line in self.check.lines)]
        return "\n".join([*lines, self.failure] if self.failure else lines)

    def _repr_html_(self) -> str:
        from deploykit.core import tables

        rows = [*self.contract.lines, *(("check", line) for line in self.check.lines)]
        return tables.card(
            "Contract", "what inputs, labels and outputs are taken to mean, and whether the model does its job so",
            tables.notes(self.warnings), tables.table(("what", "is taken as"), rows),
        )  # fmt: skip
