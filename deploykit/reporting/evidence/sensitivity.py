"""Which layers and types of operators a technique harms: the rows, the chart, and what to leave out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.errors import unknown_name
from deploykit.core.parameter import Value, short
from deploykit.core.serial import Plain
from deploykit.reporting import numbers
from deploykit.reporting.evidence import sensitivity_view as view
from deploykit.reporting.evidence.sensitivity_rows import Damage, SensitivityRow
from deploykit.reporting.views.drawing import shown
from deploykit.reporting.views.html import pictures

if TYPE_CHECKING:
    import pandas as pd

#: Layers measured one by one by default.
LIMIT = 32
#: Less than this share of the harm is not worth a layer that stays as it is.
WORTH = 0.05
#: Layers of one suggestion.
_MOST = 12
_KINDS = ("layer", "type")


@dataclass(frozen=True)
class Suggestion(Plain):
    """Layers to leave as they are.

    Attributes:
        recipe: The technique without them.
        names: Names of the layers.
        label: What is left out, in words.
        recovers: Share of the loss of fidelity that is recovered, measured or estimated.
        weights_share: Share of the weights that stay as they are.
    """

    recipe: Recipe
    names: tuple[str, ...]
    label: str
    recovers: float
    weights_share: float


@dataclass(frozen=True)
class Sensitivity(Plain):
    """The effect of a technique on single layers and operator types. See `deploykit.sensitivity`.

    Attributes:
        technique: Name of the technique.
        parameters: Its parameters without exclusions; missing ones have their defaults.
        target: Where it was evaluated.
        metric: Name of the metric.
        relative: Whether losses of the metric are relative (errors) rather than differences (accuracies).
        examples: Number of examples it is based on.
        whole: Loss when the technique is applied to the whole model.
        rows: Operator types, then layers in the order of the graph.
        excluding: Name of the parameter that leaves layers out.
        weights: Weights in all layers the technique changes.
        finished: Whether everything was measured.
        model: Digest of the model.
        data: Folder of the data, relative to the store.
        when: Seconds since 1970.

    Example:
        >>> found = dk.sensitivity(model, data, "quantize_static", by=("type",), store="runs/types")
        [...
        >>> sorted(row.type for row in found.ranked("type"))
        ['Conv', 'Gemm', 'Softmax']
    """

    technique: str
    parameters: dict[str, Value]
    target: Target
    metric: str
    relative: bool
    examples: int
    whole: Damage | None
    rows: tuple[SensitivityRow, ...]
    excluding: str = "exclude"
    weights: int = 0
    finished: bool = True
    model: str = ""
    data: str = ""
    when: float = 0.0

    # -- what to leave out ------------------------------------------------------------------------------------------

    def harm(self, row: SensitivityRow) -> float:
        """How much of the fidelity loss is due to a row.

        The mean of the loss it causes alone and of the loss that leaving it out recovers. These are its first and last
        contributions; in any other order of adding losses, its contribution lies between them (the Shapley value is
        the mean over all orders).
        """
        found = [row.only.fidelity.value] if row.only else []
        if row.all_but and self.whole:
            found.append(self.whole.fidelity.value - row.all_but.fidelity.value)
        return sum(found) / len(found) if found else 0.0

    def ranked(self, kind: str = "layer") -> list[SensitivityRow]:
        """Layers or types, most harmed first.

        Args:
            kind: ``"layer"`` or ``"type"``.

        Raises:
            SettingError: An unknown kind.
        """
        if kind not in _KINDS:
            raise unknown_name("kind of row", kind, _KINDS)
        return sorted((r for r in self.rows if r.kind == kind), key=self.harm, reverse=True)

    def suggest(self, top: int = 5) -> tuple[Suggestion, ...]:
        """Exclusions that recover most of the loss while leaving the fewest weights unchanged.

        They are the worst operator types, and the worst one, two, three … layers together. The recovery of a single
        exclusion was measured; for several, it is estimated by assuming independent errors, so that squared losses
        add up. Best first, without those that recover less than 5 %.

        Args:
            top: Maximum number.
        """
        whole = self.whole.fidelity.value if self.whole else 0.0
        if whole <= 0:
            return ()
        found: dict[frozenset[str], Suggestion] = {}
        for rows in (*self._stacks(), *([r] for r in self.ranked("type"))):
            suggestion = self._suggestion(rows, self._recovers(rows))
            if suggestion.recovers >= WORTH and suggestion.weights_share < 1:
                found.setdefault(frozenset(suggestion.names), suggestion)
        return tuple(sorted(found.values(), key=lambda s: s.weights_share - s.recovers)[:top])

    def recipes(self, top: int = 5) -> tuple[Recipe, ...]:
        """The suggestions as recipes: ``dk.Space(sensitivity.recipes())``."""
        return tuple(s.recipe for s in self.suggest(top))

    def _stacks(self) -> Iterator[list[SensitivityRow]]:
        """The worst layer, the worst two, …, as long as each adds something."""
        stack: list[SensitivityRow] = []
        for row in self.ranked("layer")[:_MOST]:
            more = [*stack, row]
            if self._estimate(more) - self._estimate(stack) < WORTH / 2:
                return
            stack = more
            yield stack

    def _recovers(self, rows: Sequence[SensitivityRow]) -> float:
        """Share of the loss that leaving out rows recovers: measured where that was done."""
        measured = rows[0].all_but if len(rows) == 1 else None
        if measured is None or self.whole is None:
            return self._estimate(rows)
        return 1 - measured.fidelity.value / self.whole.fidelity.value

    def _estimate(self, rows: Sequence[SensitivityRow]) -> float:
        """Share of the loss that leaving out rows recovers, from what each layer does alone."""
        layers = [r for r in self.rows if r.kind != "type"]
        squares = {r.name: max(0.0, r.only.fidelity.value if r.only else self.harm(r)) ** 2 for r in layers}
        names = {r.name for r in rows}
        whole = sum(squares.values())
        rest = sum(square for name, square in squares.items() if name not in names)
        return 1 - math.sqrt(rest / whole) if whole else 0.0

    def _suggestion(self, rows: Sequence[SensitivityRow], recovers: float) -> Suggestion:
        base = str(self.parameters.get(self.excluding, ""))
        named = [r.name for r in rows]
        text = ", ".join(sorted({*(n.strip() for n in base.split(",") if n.strip()), *named}))
        recipe = Recipe((Step(self.technique, {**self.parameters, self.excluding: text}),))
        share = sum(r.weights for r in rows) / self.weights if self.weights else 0.0
        kind = "all " if rows[0].kind == "type" else ""
        return Suggestion(
            recipe, tuple(n for r in rows for n in r.names), kind + short(", ".join(named)), recovers, share
        )

    # -- showing ----------------------------------------------------------------------------------------------------

    def records(self) -> list[dict[str, Any]]:
        """One flat record per row, all with the same keys; losses are shares, and unknown values are None."""
        others = sorted({n for r in self.rows for d in (r.only, r.all_but) if d for n in d.others})
        return [self._record(row, others) for row in self.rows]

    def _record(self, row: SensitivityRow, others: Sequence[str]) -> dict[str, Any]:
        found: dict[str, Any] = {
            "name": row.name,
            "kind": row.kind,
            "type": row.type,
            "order": row.order,
            "layers": len(row.names),
            "weights": row.weights,
            "weights_share": row.weights / self.weights if self.weights else 0.0,
            "harm": self.harm(row),
        }
        for side, damage in (("only", row.only), ("all_but", row.all_but)):
            intervals = {"drop": damage.drop, "fidelity_loss": damage.fidelity} if damage else {}
            intervals |= {f"{name}_loss": i for name, i in damage.others.items()} if damage else {}
            for name in ("drop", "fidelity_loss", *(f"{other}_loss" for other in others)):
                interval = intervals.get(name)
                found[f"{side}_{name}"] = interval.value if interval else None
                found[f"{side}_{name}_low"] = interval.low if interval else None
                found[f"{side}_{name}_high"] = interval.high if interval else None
        return {**found, "problem": row.problem}

    def to_frame(self) -> pd.DataFrame:
        """All rows as a data frame with flat columns; losses are shares, and positive is worse."""
        import pandas as pd

        return pd.DataFrame.from_records(self.records())

    def points(self, kind: str = "layer", *, score: str = "fidelity", sort: str = "order") -> list[dict[str, Any]]:
        """Plain rows of the chart, two for each layer or type: ``loss`` and its ends are in percent.

        Raises:
            SettingError: An unknown kind, score or order.
        """
        ranked = self.ranked(kind)
        if kind == "layer":
            ranked += self._others
        return view.points(ranked, score, sort)

    def chart(self, kind: str = "layer", *, score: str = "fidelity", sort: str = "order", dark: bool = False) -> Any:
        """Loss by layer or by operator type, with intervals (Altair).

        Filled: only this is changed. Hollow: everything else is changed. The dashed line: the whole model.

        Args:
            kind: ``"layer"`` or ``"type"``.
            score: ``"fidelity"``, or ``"drop"`` for the metric.
            sort: ``"order"`` of the graph, or ``"damage"``: worst first.
            dark: Colors for a dark background.

        Raises:
            SettingError: An unknown kind, score or order.
        """
        return shown(view.chart(
            self.points(kind, score=score, sort=sort), score, whole=self.whole, metric=self.metric,
            relative=self.relative, summary=self.summary(), dark=dark,
        ))  # fmt: skip

    def summary(self) -> str:
        """The most important result in one sentence."""
        if self.whole is None:
            return f"{self.technique} was not measured yet."
        text = (
            f"{self.technique} on {self.target.runtime} loses {numbers.points(self.whole.drop)} "
            f"{'%' if self.relative else 'pp'} of {self.metric} and {numbers.points(self.whole.fidelity)} % of fidelity"
        )
        text += "" if self.whole.drop.low > 0 else " (the former may be noise)"
        best = self.suggest(1)
        if not best:
            return f"{text}; no layer or type stands out."
        first = best[0]
        return (
            f"{text}; leaving out {first.label} ({100 * first.weights_share:.1f} % of the weights) should recover "
            f"about {100 * first.recovers:.0f} % of that fidelity."
        )

    def __str__(self) -> str:
        state = "" if self.finished else "\nNot finished: rerun the same call to resume."
        return f"{view.text(self._cells())}\n{self.summary()}{state}"

    def __repr__(self) -> str:
        return f"Sensitivity({self.technique} on {self.target}, {len(self.rows)} rows)"

    def _repr_mimebundle_(self, **_options: Any) -> dict[str, Any]:
        drawn = pictures(lambda dark: self.chart(dark=dark), self.summary()) if self.whole else ""
        return {"text/plain": str(self), "text/html": view.page(self._cells(), self.summary(), drawn)}

    @property
    def _others(self) -> list[SensitivityRow]:
        return [r for r in self.rows if r.kind == "others"]

    def _cells(self) -> list[list[str]]:
        return view.cells([*self.ranked("type"), *self.ranked("layer"), *self._others], self.metric)
