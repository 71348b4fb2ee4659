"""What is said when a layout cannot hold a candidate."""

from __future__ import annotations

from collections.abc import Callable

from deploykit.core.errors import ExportError
from deploykit.measuring.exportable import Exportable


def unfitting(chosen: Exportable, layout: str, reason: str, fits: Callable[[str], bool]) -> ExportError:
    """An error that names the best candidate that the layout can hold.

    Args:
        chosen: The candidate that it cannot hold.
        layout: Name of the layout.
        reason: Why, without a full stop.
        fits: Whether it can hold a format.
    """
    fitting = [r for r in chosen.alternatives if r.status == "measured" and r.format and fits(r.format)]
    if fitting:
        best = fitting[0]
        remedy = (
            f"the best candidate that fits it is {best.label!r} on {best.candidate.target} (key {best.key}): "
            f"report.best(layout={layout!r}); or export this one with layout='folder'."
        )
    else:
        remedy = "no candidate of this report fits it; export with layout='folder'."
    return ExportError(f"{reason}.", remedy=remedy)
