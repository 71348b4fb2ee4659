"""What a plan lists: candidates that can be built, what is left out and why, remarks, and what it will take."""

from __future__ import annotations

from dataclasses import dataclass

from deploykit.core.candidate import Candidate, Recipe, Target
from deploykit.core.problem import Severity
from deploykit.core.serial import Plain
from deploykit.planning.history import How
from deploykit.runtimes._compile import COMPILED


@dataclass(frozen=True)
class Planned(Plain):
    """A candidate that can be built.

    Attributes:
        candidate: Recipe (canonical: parameters without effect are dropped) and target.
        label: The recipe in words.
        family: Group in charts.
        steps: Keys of its build steps in order; empty for an original model that runs as it is.
        format: Format of its artifact.
        compiled: Whether the last step compiles the artifact for this machine.
    """

    candidate: Candidate
    label: str
    family: str
    steps: tuple[str, ...]
    format: str
    compiled: bool = False

    @property
    def key(self) -> str:
        """The candidate's key."""
        return self.candidate.key

    @property
    def artifact_steps(self) -> tuple[str, ...]:
        """Keys of the steps that make the artifact, which runs on any machine."""
        return self.steps[:-1] if self.compiled else self.steps

    @property
    def opened_as(self) -> str:
        """Format of what the runtime opens here."""
        return COMPILED if self.compiled else self.format


@dataclass(frozen=True)
class LeftOut(Plain):
    """A combination that is not a candidate.

    Attributes:
        label: Recipe and runtime in words.
        reason: Why.
        recipe: What would have been done; None when what is left out is not a recipe.
        target: Where it would have run.
    """

    label: str
    reason: str
    recipe: Recipe | None = None
    target: Target | None = None


@dataclass(frozen=True)
class Remark(Plain):
    """What is known of a candidate before it is built.

    Attributes:
        key: The candidate's key.
        label: Recipe and target in words.
        severity: ``"pointless"``: it will not be faster or better than what is cheaper; ``"note"``: worth knowing.
        reason: Why.
    """

    key: str
    label: str
    severity: Severity
    reason: str


@dataclass(frozen=True)
class Expected(Plain):
    """What a sweep will take. Work that the store already holds is not counted.

    Attributes:
        seconds: Expected wall-clock time.
        low: Lower end of a rough range.
        high: Upper end of it.
        stages: The same by stage: ``build``, ``accuracy``, ``latency``; start-up of processes is part of the first.
        known_from: What most of it rests on: durations of this model here, of other models here, or typical ones.
        steps: Build steps to do.
        evaluations: Evaluations to do.
        sessions: Sessions of each launch, baselines and their clones included.
        disk_bytes: Growth of the store.
    """

    seconds: float
    low: float
    high: float
    stages: dict[str, float]
    known_from: How
    steps: int
    evaluations: int
    sessions: int
    disk_bytes: int
