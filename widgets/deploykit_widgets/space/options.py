"""How a sweep is run: the settings of ``dk.sweep`` that the Space panel shows."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from deploykit.core.errors import SettingError, unknown_name
from deploykit.core.extras import installed

#: What to do with candidates that are confirmed to lose more than the goal allows: name → label, help.
LOSERS = {
    "measure": ("measure them anyway", "All candidates are evaluated and timed."),
    "untimed": ("do not time them", "They are evaluated on all of the data, and their latency is not measured."),
    "stop": ("stop them early", "Their evaluation stops as soon as the larger loss is confirmed."),
}
#: Ways to search a space: name → label, help.
SEARCHES = {
    "grid": ("every candidate", "Every candidate of the space is built and measured."),
    "tpe": ("learn (TPE)", "Optuna proposes candidates from the values above and learns which ones are good."),
    "nsga2": ("evolve (NSGA-II)", "A genetic algorithm that evolves the whole front."),
    "random": ("at random", "Candidates are drawn at random from the values above."),
}
_BUDGET = re.compile(r"(?P<number>[1-9]\d*(\.\d+)?) (?P<unit>candidates|s|min|h)")


@dataclass(frozen=True)
class SweepOptions:
    """Settings of a sweep; the defaults are those of ``dk.sweep``.

    Attributes:
        losers: One of `LOSERS`.
        adaptive: See ``dk.sweep``.
        sensitivity: See ``dk.sweep``.
        search: One of `SEARCHES`.
        budget: See ``dk.sweep``: a number, a space, and ``candidates``, ``s``, ``min`` or ``h``; "" for the default.
    """

    losers: str = "measure"
    adaptive: bool = True
    sensitivity: bool = False
    search: str = "grid"
    budget: str = ""

    def with_(self, name: str, value: Any) -> SweepOptions:
        """With one setting changed and checked.

        Raises:
            SettingError: No such setting, or a value it cannot have.
        """
        usual = getattr(SweepOptions, name, None)
        if not isinstance(usual, bool | str):
            raise unknown_name("sweep option", name, ("losers", "adaptive", "sensitivity", "search", "budget"))
        if not isinstance(value, type(usual)):
            raise SettingError(f"{name} must be {'true or false' if isinstance(usual, bool) else 'text'}.")
        for setting, known in (("losers", LOSERS), ("search", SEARCHES)):
            if name == setting and value not in known:
                raise unknown_name(f"value for {name},", value, known)
        if name == "search" and value != "grid" and (reason := no_search()):
            raise SettingError(f"search={value!r}: {reason}.")
        if name == "budget" and value and not _BUDGET.fullmatch(str(value)):
            raise SettingError(
                f"budget: cannot parse {value!r}.", remedy='give "40 candidates", "90 s", "10 min" or "2 h".'
            )
        changed: SweepOptions = replace(self, **{name: value})  # type: ignore[arg-type]  # its type was checked
        return replace(changed, budget="") if changed.search == "grid" else changed  # a grid is the whole space

    def arguments(self, max_drop: float) -> dict[str, Any]:
        """Arguments of ``dk.sweep`` that differ from its defaults, in its order.

        Args:
            max_drop: Largest loss the goal allows.
        """
        found: dict[str, Any] = {}
        if self.losers != "measure":
            found["max_drop"] = max_drop
        if self.losers == "untimed":
            found["racing"] = False
        if not self.adaptive:
            found["adaptive"] = False
        if self.search != "grid":
            found["search"] = self.search
        if self.budget:
            found["budget"] = self.budget
        if self.sensitivity:
            found["sensitivity"] = True
        return found

    @property
    def whole(self) -> bool:
        """Whether exactly the candidates of the plan are run: no search selects among them, and no round adds any."""
        return self.search == "grid" and not self.sensitivity


def no_search() -> str:
    """Why only a grid search is possible; "" when others are."""
    return "" if installed("optuna") else "optuna not installed; pip install 'deploykit[search]'"
