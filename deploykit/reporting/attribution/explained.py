"""What a model's answer to one example rests on: values and words. `Explanation` adds how it is shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deploykit.reporting import numbers

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

#: Parts that are named in sentences and tables.
_FEW, ROWS = 3, 12


@dataclass(frozen=True)
class InputExplanation:
    """What one input adds to an answer.

    Attributes:
        input: Name of the input.
        kind: What it is taken for: ``"image"``, ``"series"`` and ``"volume"`` are hidden in patches, ``"table"`` column
            by column, ``"tokens"`` and ``"text"`` token by token and word by word.
        method: ``"occlusion"`` or ``"kernel_shap"``.
        values: What each part adds, in the unit of the answer. Shape (height, width) for images, (steps,) for series,
            (columns,) for tables, (tokens,) and (words,) for text.
        names: Of columns, tokens and words; () for places of images and series.
        example: The example as the model takes it, without the batch.
    """

    input: str
    kind: str
    method: str
    values: NDArray[Any]
    names: tuple[str, ...] = ()
    example: NDArray[Any] | None = None

    def name_of(self, place: int) -> str:
        """A part in words, by its place in the flattened values."""
        import numpy as np

        if self.names:
            return self.names[place]
        where = [int(i) for i in np.unravel_index(place, self.values.shape)]
        if self.kind == "image":
            return f"row {where[0]}, column {where[1]}"
        return f"step {where[0]}" if len(where) == 1 else f"place {tuple(where)}"


@dataclass(frozen=True)
class Explained:
    """What an answer rests on; see `Explanation`."""

    model: str
    answer: str
    index: tuple[int, ...]
    score: float
    base: float | None
    parts: tuple[InputExplanation, ...]
    stability: float | None = None
    noise: float | None = None
    runs: int = 0
    classes: bool = True
    against: Explained | None = field(default=None)

    @property
    def values(self) -> dict[str, NDArray[Any]]:
        """What each part of each input adds to the answer: input → array, see `InputExplanation`."""
        return {part.input: part.values for part in self.parts}

    @property
    def correlation(self) -> float | None:
        """Correlation with the values of the model it is compared with; None without one, or if either is constant."""
        return None if self.against is None else correlation(self.values, self.against.values)

    @property
    def floor(self) -> float | None:
        """Lowest correlation of the other model's values with its own by three other seeds: what chance alone leaves.

        Both models are seen through the same masks, so a correlation below it is more than chance. 1 where chance has
        no part; None without another model.
        """
        if self.against is None:
            return None
        return 1.0 if self.against.stability is None else self.against.stability

    def summary(self) -> str:
        """The most important in sentences."""
        number = self._number(self.score)
        kind = "Confidence in" if self.classes else "Answer"
        lines = [f"{kind} {self.answer!r}: {number} by {self.model}."]
        if best := self.strongest(_FEW):
            named = "; ".join(f"{row['name']} {numbers.fixed(row['value'], 3)}" for row in best)
            lines.append(f"What counts most: {named}.")
        if self.against is not None:
            lines += [f"{self._number(self.against.score)} by {self.against.model}.", self._alike()]
        elif self.stability is not None:
            lines.append(f"Values of other masks correlate at {numbers.fixed(self.stability, 2)} or more with these.")
        return " ".join(lines)

    def _alike(self) -> str:
        found, floor = self.correlation, self.floor
        if found is None or floor is None:
            return "Values of one of the models are all the same: nothing that was hidden matters to it."
        said = f"The values of both correlate at {numbers.fixed(found, 2)}"
        if self.against is not None and self.against.stability is None:
            return f"{said}; chance has no part in them."
        said += f"; those of {self.against.model if self.against else ''} alone, seen through other masks, from "
        said += f"{numbers.fixed(floor, 2)} on (noise floor): "
        if found >= floor:
            return f"{said}no difference is seen in what they rest on."
        return f"{said}what they rest on differs by more than chance."

    def _number(self, value: float) -> str:
        return f"{numbers.fixed(100 * value, 1)} %" if self.classes else numbers.significant(value)

    def records(self) -> list[dict[str, Any]]:
        """One flat record for each part of each input, with the other model's value where there is one."""
        import numpy as np

        other = self.against.values if self.against is not None else {}
        found = []
        for part in self.parts:
            flat = part.values.ravel()
            beside = other[part.input].ravel() if part.input in other else None
            for place, value in enumerate(flat.tolist()):
                where = [int(i) for i in np.unravel_index(place, part.values.shape)]
                row: dict[str, Any] = {"input": part.input, "place": where, "name": part.name_of(place), "value": value}
                if beside is not None:
                    row["against"] = float(beside[place])
                found.append(row)
        return found

    def strongest(self, count: int = ROWS) -> list[dict[str, Any]]:
        """The records with the largest values of either sign, largest first; of an image the peaks that lie apart.

        Args:
            count: How many at most.
        """
        rows = sorted(self.records(), key=lambda row: -abs(row["value"]))
        found: list[dict[str, Any]] = []
        apart = {part.input: [max(1, side // 6) for side in part.values.shape] for part in self.parts if not part.names}
        for row in rows:
            near = apart.get(row["input"], [])
            taken = any(
                one["input"] == row["input"]
                and near
                and all(abs(a - b) < gap for a, b, gap in zip(one["place"], row["place"], near, strict=True))
                for one in found
            )
            if row["value"] and not taken:
                found.append(row)
            if len(found) == count:
                break
        return found

    def to_frame(self) -> pd.DataFrame:
        """The records as a data frame."""
        import pandas as pd

        return pd.DataFrame.from_records(self.records())

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data; arrays as lists."""
        return {
            "model": self.model, "answer": self.answer, "index": list(self.index), "score": self.score,
            "base": self.base, "stability": self.stability, "noise": self.noise, "runs": self.runs,
            "classes": self.classes, "correlation": self.correlation, "floor": self.floor,
            "inputs": [
                {"input": p.input, "kind": p.kind, "method": p.method, "names": list(p.names),
                 "values": p.values.tolist()}
                for p in self.parts
            ],
            "summary": self.summary(),
            "against": self.against.to_json() if self.against is not None else None,
        }  # fmt: skip

    def __str__(self) -> str:
        return self.summary()


def correlation(one: dict[str, NDArray[Any]], other: dict[str, NDArray[Any]]) -> float | None:
    """Pearson's correlation over all inputs; None if either is constant."""
    import numpy as np

    first, second = (np.concatenate([values[name].ravel() for name in one]) for values in (one, other))
    if len(first) < 2 or first.std() == 0 or second.std() == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])
