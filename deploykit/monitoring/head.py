"""What a profile watches, and how: all of it that is not arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deploykit.core.serial import Plain
from deploykit.monitoring.answers import MOST_ANSWERS, Answered
from deploykit.monitoring.calibrating import Calibrated
from deploykit.monitoring.facts import Facts
from deploykit.monitoring.readings import VOCABULARY_BITS, Read

FORMAT = 1
#: Most categories of a column that are listed.
CATEGORIES = 8
#: Inputs of which the distance from the reference is taken.
MOST_PAIRS = 6

Part = Literal["input", "output", "embedding"]


@dataclass(frozen=True)
class Feature(Plain):
    """One number of the map.

    Attributes:
        name: What it is, in words.
        part: What it is of: inputs, answers, or the embedding.
        about: The input or output.
    """

    name: str
    part: Part
    about: str = ""


@dataclass(frozen=True)
class Sketch(Plain):
    """The projections of the embedding.

    Attributes:
        source: Where the numbers come from, in words.
        width: Numbers there are.
        kept: Numbers that are used, evenly spaced.
        features: Random Fourier features.
        seed: Of the projections.
        bandwidth: Of the kernel, in units of scaled numbers.
        scale: Of the numbers' standard deviations, of which single ones are stored as powers of it.
    """

    source: str = ""
    width: int = 0
    kept: int = 0
    features: int = 0
    seed: int = 0
    bandwidth: float = 1.0
    scale: float = 1.0


@dataclass(frozen=True)
class Head(Plain):
    """All of a profile that is not arrays.

    Attributes:
        model: Digest of the model it belongs to.
        examples: Examples of the reference.
        held_out: How many of them sized the band; the others fitted the map.
        inputs: How inputs are read.
        answered: How the scored output is read.
        sketch: The projections of the embedding.
        knots: Quantiles of each number that is ranked.
        calibrated: How sure answers are, and how good they were.
        notes: What is left out, in words.
        tap: Tensor of the model file that is the embedding; "" without.
        facts: What was seen of raw inputs.
        format: Version of this layout.
    """

    model: str
    examples: int
    held_out: int
    inputs: tuple[Read, ...]
    answered: Answered
    sketch: Sketch
    knots: int
    calibrated: Calibrated
    notes: tuple[str, ...] = ()
    tap: str = ""
    facts: tuple[Facts, ...] = ()
    format: int = FORMAT

    @property
    def rows(self) -> int:
        """Numbers that are ranked."""
        answered = self.answered
        rows = sum(len(r.columns) or 2 for r in self.inputs)
        if answered.scored:
            return rows + 2
        return rows + (min(answered.width, MOST_ANSWERS) if answered.kind in ("values", "embedding") else 0)

    @property
    def of_inputs(self) -> int:
        """Numbers of inputs that the distance from the reference is taken of."""
        return sum(4 if read.sort == "tensor" else 2 for read in self.inputs[:MOST_PAIRS])

    @property
    def directions(self) -> int:
        """Numbers that the distance from the reference is taken of."""
        return self.of_inputs + self.sketch.features

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """What arrays there are besides the features' means, and their shapes."""
        wide = self.directions
        words = {f"vocabulary.{i}": (VOCABULARY_BITS // 8,) for i, r in enumerate(self.inputs) if r.worded}
        listed = sum(count > 0 for r in self.inputs for count in r.categories)
        return {
            "knots": (self.rows, self.knots),
            "categories": (listed, CATEGORIES),
            "scales": (self.sketch.kept if self.sketch.features else 0,),
            "center": (wide,),
            "whitening": (wide * (wide + 1) // 2,),
            "rarity": (len(self.rarity_places),),
            **words,
        }

    @property
    def rarity_places(self) -> tuple[int, ...]:
        """How many of the held-out examples are at least as unusual as each number of the array "rarity"; descending.

        The rarest ones are kept one by one.
        """
        places, number = [], 1
        while number < self.held_out:
            places.append(number)
            number += 1 if number < 24 else max(1, number // 10)
        return (self.held_out, *reversed(places))


def has_scale(read: Read) -> bool:
    """Whether ranks of an input come in a second form: not of many columns, which would fill the profile."""
    return len(read.columns) <= 64


def features_of(head: Head) -> tuple[Feature, ...]:
    """The features of a profile, in the order in which `deploykit.monitoring.mapping.mapped` gives them."""
    found: list[Feature] = []
    for read in head.inputs:
        names = _names(read)
        found += [Feature(name, "input", read.name) for name in names]
        if has_scale(read):
            found += [Feature(f"spread of {name}", "input", read.name) for name in names]
        if read.columns:
            found += [Feature(f"{name} missing", "input", read.name) for name in names]
        listed = [name for name, count in zip(names, read.categories, strict=False) if count]
        found += [Feature(f"{name} of an unseen category", "input", read.name) for name in listed]
    answered = head.answered
    if answered.scored:
        sure = ("confidence", "entropy")
        found += [Feature(name, "output", answered.name) for name in (*sure, *(f"spread of {n}" for n in sure))]
    if answered.kind in ("values", "embedding") and answered.name:
        names = [f"value {i}" for i in range(min(answered.width, MOST_ANSWERS))]
        found += [Feature(n, "output", answered.name) for n in (*names, *(f"spread of {n}" for n in names))]
    found += [Feature(answered.group_name(g), "output", answered.name) for g in range(answered.groups)]
    sketch = head.sketch
    return (*found, *(Feature(f"{sketch.source}, direction {i + 1}", "embedding") for i in range(sketch.features)))


def _names(read: Read) -> list[str]:
    if read.columns:
        return [f"{read.shown}: column {c}" for c in read.columns] if read.shape != () else [read.shown]
    pair = {"tensor": ("mean", "contrast"), "text": ("length", "unknown words"), "tokens": ("length", "unknown tokens")}
    return [f"{read.shown}: {name}" for name in pair[read.sort]]
