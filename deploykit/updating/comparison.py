"""What a gate found: its verdict, each question that led to it, and the error rates that were stated beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deploykit.core.candidate import Target
from deploykit.core.result import Interval
from deploykit.core.serial import Plain, to_plain
from deploykit.reporting import numbers
from deploykit.updating import written

#: Version of the JSON that `Comparison.to_json` gives.
SCHEMA = 1
GateVerdict = Literal["ACCEPT", "REGRESSION", "INCONCLUSIVE", "INFEASIBLE"]
#: The verdict of several questions is the first of these that one of them has.
ORDER: tuple[GateVerdict, ...] = ("REGRESSION", "INFEASIBLE", "INCONCLUSIVE", "ACCEPT")
_MEANS = {
    "ACCEPT": "the challenger may take the incumbent's place",
    "REGRESSION": "the challenger is confirmed to be beyond a limit",
    "INCONCLUSIVE": "neither was confirmed",
    "INFEASIBLE": "it could not have been confirmed here",
}


@dataclass(frozen=True)
class GatePlan(Plain):
    """What a gate decides, with what confidence, and what that takes: known before a model is run.

    Attributes:
        alpha: Largest probability of ACCEPT for a challenger beyond a limit, and of REGRESSION for one within all.
        power: Probability of the right verdict, with the examples that are needed, of a challenger that loses nothing
            and of one that loses twice ``max_drop``.
        max_drop: Largest loss allowed: absolute for accuracies, relative for errors.
        max_latency_ms: Largest median latency allowed, None for no limit.
        examples: Examples there are.
        least: With fewer, not even a challenger with all of the incumbent's answers could be accepted.
        expected_differing: Share of the examples of which only one of both is expected to get right.
        needed: Examples needed then; None: more than ten million.
    """

    alpha: float
    power: float
    max_drop: float
    max_latency_ms: float | None
    examples: int
    least: int
    expected_differing: float
    needed: int | None

    def __str__(self) -> str:
        limit, twice = (numbers.fixed(100 * share, 2) for share in (self.max_drop, 2 * self.max_drop))
        error = f"{100 * self.alpha:g} %"
        needed = "more than ten million" if self.needed is None else f"{self.needed:,}"
        return (
            f"Beforehand: ACCEPT of a challenger that loses {limit} % or more, and REGRESSION of one within limits, at "
            f"most {error} each. {self.examples:,} paired examples; at least {self.least:,} are needed. If only one "
            f"of both is right on {100 * self.expected_differing:g} % of them, {needed} find a challenger that loses "
            f"nothing, and one that loses {twice} %, with {100 * self.power:g} % probability."
        )


@dataclass(frozen=True)
class GateSide(Plain):
    """One of both models.

    Attributes:
        name: Its name.
        path: Its folder or file.
        digest: SHA-256.
        format: Format of its file.
        target: What it ran on.
        size_bytes: Size of its file.
        value: Mean of the metric.
        latency_ms: Median latency of one inference, with its 95 % interval over launches; None: not measured.
    """

    name: str
    path: str
    digest: str
    format: str
    target: Target
    size_bytes: int
    value: float
    latency_ms: Interval | None = None


@dataclass(frozen=True)
class GateCheck(Plain):
    """The answer to one question.

    Attributes:
        question: ``"quality"`` or ``"latency"``.
        verdict: The answer.
        text: What was found, in a sentence.
        p_beyond: p-value of "the challenger is at or beyond the limit": a small one shows that it is within.
        p_within: p-value of "the challenger is within the limit": a small one shows that it is beyond.
    """

    question: Literal["quality", "latency"]
    verdict: GateVerdict
    text: str
    p_beyond: float
    p_within: float


@dataclass(frozen=True)
class Comparison:
    """Result of `compare`. True when the challenger is accepted.

    Attributes:
        verdict: ``"ACCEPT"``, ``"REGRESSION"``, ``"INCONCLUSIVE"`` or ``"INFEASIBLE"``.
        checks: The questions and their answers.
        incumbent: What is there.
        challenger: What may take its place.
        metric: Name of the metric.
        drop: Loss of the challenger with its 95 % interval; positive is worse.
        better: Examples that only the challenger gets right; None for a metric that is not of hits and misses.
        worse: Examples that only the incumbent gets right.
        plan: What was stated beforehand.
        needed: Where quality is undecided: examples needed, by the share on which both were found to differ (its upper
            90 % bound); None where it is decided, or if it is more than ten million.
        notes: What else to know, one sentence each.
        environment: Where it was measured.

    Example:
        >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
        >>> found = dk.compare(model, built, data, max_drop=0.02)
        >>> found.verdict, [check.question for check in found.checks]
        ('ACCEPT', ['quality'])
    """

    verdict: GateVerdict
    checks: tuple[GateCheck, ...]
    incumbent: GateSide
    challenger: GateSide
    metric: str
    drop: Interval
    better: int | None
    worse: int | None
    plan: GatePlan
    needed: int | None
    notes: tuple[str, ...]
    environment: dict[str, Any]

    def __bool__(self) -> bool:
        return self.verdict == "ACCEPT"

    @property
    def summary(self) -> str:
        """The verdict and what it means, in a line."""
        return f"{self.verdict}: {_MEANS[self.verdict]}."

    @property
    def lines(self) -> list[tuple[str, str]]:
        """What was found, as pairs of a heading and a sentence."""
        sides = (("incumbent", self.incumbent), ("challenger", self.challenger))
        found = [(heading, _side(side)) for heading, side in sides]
        found += [(check.question, f"{check.verdict}. {check.text}") for check in self.checks]
        found.append(("stated", str(self.plan)))
        if self.checks[0].verdict in ("INCONCLUSIVE", "INFEASIBLE"):
            more = "more than ten million" if self.needed is None else f"{self.needed:,}"
            found.append(("needed", f"{more} examples, by how often both were found to differ."))
        return [*found, *(("note", note) for note in self.notes)]

    def __str__(self) -> str:
        return "\n".join([self.summary, *(f"{heading:<11}{text}" for heading, text in self.lines)])

    def __repr__(self) -> str:
        return f"Comparison({self.summary} {self.checks[0].text})"

    def _repr_html_(self) -> str:
        from deploykit.core import tables

        return tables.card(self.summary, f"{self.challenger.name} against {self.incumbent.name}", tables.table(
            ("what", "was found"), self.lines
        ))  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data, with ``schema`` and ``summary``."""
        found = {name: to_plain(getattr(self, name)) for name in self.__dataclass_fields__}
        return {"schema": SCHEMA, "summary": self.summary, **found}

    def to_markdown(self, path: str | Path | None = None) -> str:
        """A table for a pull request, written to ``path`` if given."""
        return written.kept(written.markdown(self.summary, self.lines), path)

    def to_junit(self, path: str | Path | None = None) -> str:
        """A JUnit report with a test for each question, written to ``path`` if given; only ACCEPT passes."""
        cases = [(check.question, check.verdict, check.text) for check in self.checks]
        said = "\n".join(f"{heading}: {text}" for heading, text in self.lines)
        return written.kept(written.junit("deploykit gate", cases, said), path)


def _side(side: GateSide) -> str:
    latency = "" if side.latency_ms is None else f", {numbers.milliseconds(side.latency_ms)} ms"
    return f"{side.name} ({side.format} on {side.target}, {numbers.kilobytes(side.size_bytes)} kB{latency}), " + (
        f"sha256 {side.digest[:12]}"
    )
