"""Another store beside this one: its candidates for a second chart, and what changed, in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploykit.core.errors import SettingError, StoreError
from deploykit.reporting.comparison import compare_reports
from deploykit.reporting.report import Report
from deploykit_widgets.answers import Command, Later
from deploykit_widgets.rows import rows_of
from deploykit_widgets.sections._contract import Section

#: Stores that are offered.
_MOST = 20
#: In the Workbench A and B are two candidates, so that reports are called by where they are.
_SIDES = (
    (r"\bFrom A to B\b", "From here to there"),
    (r"\bin A\b", "here"),
    (r"\bin B\b", "there"),
    (r"^(Change|p50|Speed-up|Size) A\b", r"\1 here"),
    (r"^(Change|p50|Speed-up|Size) B\b", r"\1 there"),
)


class BesideSection(Section):
    """Another store beside this one. It has no value: that it is there has the view offered."""

    name = "beside"

    def commands(self) -> Mapping[str, Command]:
        """List the stores nearby, and open one beside the report."""
        return {"stores": lambda: Later("stores", self._offered), "beside": self._beside}

    def _beside(self, path: str) -> Later:
        report = self._state.report
        if report is None:
            raise SettingError("There are no results here to put a store beside.", remedy="Run the sweep first.")
        if not path.strip():
            raise SettingError("The folder of the other store is missing.", remedy="Give the folder of its sweep.")
        return Later("beside", lambda: _compared(report, Path(path.strip()).expanduser()))

    def _offered(self) -> list[str]:
        """Stores in the folder that this one is in."""
        report = self._state.report
        if report is None:
            return []
        here = report.path
        try:
            found = sorted(file.parent for file in here.parent.glob("*/store.sqlite"))
        except OSError:
            return []
        shown = self._state.store.parent
        return [str(shown / folder.name) for folder in found if folder.resolve() != here.resolve()][:_MOST]


def _compared(report: Report, path: Path) -> dict[str, Any]:
    try:
        other = Report.open(path, model=report.model)
    except StoreError:
        other = Report.open(path)  # of another model: that is said, and nothing is claimed
    compared = compare_reports(report, other)
    return {
        "name": compared.names[1],
        "summary": _sides(compared.summary),
        "notes": [_sides(line) for line in [*compared.notes, *compared.best()]],
        "headers": [_sides(title) for title in _answer_first(compared.headers)],
        "rows": list(rows_of(other).values()),
        "pairs": [
            {"key": pair.key, "cells": [_sides(cell) for cell in _answer_first(cells)]}
            for pair, cells in zip(compared.pairs, compared.cells(), strict=True)
        ],
    }


def _answer_first(cells: list[str]) -> list[str]:
    """What changed stands beside the name: the numbers may have to be scrolled to."""
    return [*cells[:2], cells[-1], *cells[2:-1]]


def _sides(text: str) -> str:
    for pattern, words in _SIDES:
        text = re.sub(pattern, words, text)
    return text


ADAPTER = BesideSection
