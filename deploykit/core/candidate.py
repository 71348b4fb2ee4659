"""What can be tried: steps, recipes, targets, candidates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from deploykit.core.digest import json_digest
from deploykit.core.errors import SettingError
from deploykit.core.parameter import Value
from deploykit.core.serial import RARE, Plain


@dataclass(frozen=True)
class Step(Plain):
    """One transform with its parameters.

    Attributes:
        technique: Name of a transform, for example ``"prune_magnitude"``.
        parameters: Keyword values; missing ones have the technique's defaults.

    Example:
        >>> print(dk.Step("prune_magnitude", {"sparsity": 0.5}))
        prune magnitude (sparsity 0.5)
    """

    technique: str
    parameters: dict[str, Value] = field(default_factory=dict)

    def __str__(self) -> str:
        words = self.technique.replace("_", " ")
        shown = ", ".join(f"{k.replace('_', ' ')} {_number(v)}" for k, v in self.parameters.items())
        return f"{words} ({shown})" if shown else words


@dataclass(frozen=True)
class Recipe(Plain):
    """An ordered list of steps; the empty recipe is the original model.

    Example:
        >>> recipe = dk.Recipe((dk.Step("prune_magnitude", {"sparsity": 0.5}), dk.Step("quantize_dynamic")))
        >>> print(recipe)
        prune magnitude (sparsity 0.5) → quantize dynamic
        >>> dk.Recipe.from_json(recipe.to_json()) == recipe
        True
    """

    steps: tuple[Step, ...] = ()

    @classmethod
    def of(cls, given: Any) -> Recipe:
        """``given`` itself, or the recipe of a step, of a technique's name, or of several of them in order.

        Raises:
            SettingError: It is something else.
        """
        if isinstance(given, Recipe):
            return given
        parts = (given,) if isinstance(given, Step | str) else given
        steps = [Step(part) if isinstance(part, str) else part for part in parts] if isinstance(parts, Iterable) else []
        if not isinstance(parts, Iterable) or not all(isinstance(step, Step) for step in steps):
            raise SettingError(
                f"Expected a recipe, got {given!r}.",
                remedy='give a Recipe, a Step such as dk.Step("quantize_static"), or a list of steps.',
            )
        return cls(tuple(steps))

    def __str__(self) -> str:
        return " → ".join(map(str, self.steps)) or "original"

    @cached_property
    def key(self) -> str:
        """Digest of the canonical form."""
        return json_digest(self.to_json())


@dataclass(frozen=True)
class Target(Plain):
    """Where a candidate runs.

    Attributes:
        runtime: Name of a runtime.
        device: Name of a device of that runtime.
        threads: Threads per inference.
        batch_size: Examples per inference while latency is timed.
        lengths: Sizes at which latency is measured as well, for models whose inputs have free dimensions besides the
            batch: tokens of a text, or height and width of an image. Every free dimension gets the size.

    Example:
        >>> print(dk.Target("onnxruntime", threads=2, batch_size=8))
        onnxruntime · cpu · 2 threads · batch 8
        >>> print(dk.Target("onnxruntime", lengths=(16, 64, 256)))
        onnxruntime · cpu · 1 thread · lengths 16, 64, 256
    """

    runtime: str
    device: str = "cpu"
    threads: int = 1
    batch_size: int = 1
    lengths: tuple[int, ...] = field(default=(), metadata={RARE: True})

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", tuple(sorted(set(self.lengths))))

    def __str__(self) -> str:
        text = f"{self.runtime} · {self.device} · {self.threads} thread{'s' if self.threads != 1 else ''}"
        text += "" if self.batch_size == 1 else f" · batch {self.batch_size}"
        return f"{text} · lengths {', '.join(map(str, self.lengths))}" if self.lengths else text


@dataclass(frozen=True)
class Candidate(Plain):
    """A recipe on a target.

    Example:
        >>> candidate = dk.Candidate(dk.Recipe((dk.Step("quantize_dynamic"),)), dk.Target("onnxruntime"))
        >>> print(candidate)
        quantize dynamic on onnxruntime · cpu · 1 thread
        >>> len(candidate.key)
        12
    """

    recipe: Recipe
    target: Target

    @cached_property
    def key(self) -> str:
        """Short, stable name of this candidate: 12 hexadecimal digits."""
        return json_digest(self.to_json())[:12]

    def __str__(self) -> str:
        return f"{self.recipe} on {self.target}"


def _number(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).lower() if isinstance(value, bool) else str(value)
