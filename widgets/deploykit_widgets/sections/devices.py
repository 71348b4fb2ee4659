"""Devices and machines side by side: each with its own front and its best candidate, ranked under limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploykit.core.errors import SettingError
from deploykit.reporting.devices import prices_of, rank_devices
from deploykit.reporting.report import Report
from deploykit_widgets.answers import Command, Later
from deploykit_widgets.rows import rows_of
from deploykit_widgets.sections._contract import Section
from deploykit_widgets.state import Goal


class DevicesSection(Section):
    """Devices and machines, ranked. It has no value: that it is there has the view offered."""

    name = "devices"

    def commands(self) -> Mapping[str, Command]:
        """Rank the devices of the report, and of other stores."""
        return {"devices": self._devices}

    def _devices(self, limits: Mapping[str, str], goal: Any = None) -> Later:
        """See ``IRanked`` in devices/devices.tsx.

        Args:
            limits: What was typed: ``p50``, ``energy``, ``cost``, ``price`` and ``stores``; empty where there is none.
            goal: Of the sweep as the browser has it; the state's is used, the browser asks again when it changes.
        """
        del goal
        report = self._state.report
        if report is None:
            raise SettingError(
                "There are no results here whose devices could be ranked.", remedy="Run the sweep first."
            )
        own, wanted, typed = report, self._state.goal, dict(limits)
        return Later("devices", lambda: _ranked(own, wanted, typed))


def _ranked(report: Report, goal: Goal, typed: Mapping[str, str]) -> dict[str, Any]:
    others = [Report.open(Path(name).expanduser()) for name in _parts(typed.get("stores", ""))]
    price = prices_of(_parts(typed.get("price", "")))
    minimize = goal.minimize
    ranking = rank_devices(
        report, *others, minimize=minimize, max_drop=goal.max_drop, price_per_hour=price,
        max_p50_ms=_number(typed, "p50", "latency"), max_energy_mj=_number(typed, "energy", "energy"),
        max_cost_per_million=_number(typed, "cost", "cost"),
    )  # fmt: skip
    rows = {str(r.path): rows_of(r) for r in (report, *others)}
    return {
        "summary": ranking.summary,
        "headers": ranking.headers,
        "devices": [
            {
                "key": f"{entry.store} {place}",
                "title": f"{entry.device} · {entry.machine}",
                "met": entry.met,
                "best": entry.choice.key if entry.choice else "",
                "here": entry.store == str(report.path),
                "cells": cells,
                "rows": [rows[entry.store][key] for key in entry.keys],
            }
            for place, (entry, cells) in enumerate(zip(ranking.entries, ranking.cells(), strict=True))
        ],
    }


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _number(typed: Mapping[str, str], name: str, what: str) -> float | None:
    text = typed.get(name, "").strip()
    if not text:
        return None
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise SettingError(
            f"The limit of {what} must be a positive number, got {text!r}.", remedy="Leave it empty for none."
        )
    return value


ADAPTER = DevicesSection
