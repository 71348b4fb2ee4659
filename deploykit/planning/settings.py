"""The options of a sweep, checked, with what planning and sweeping make of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from deploykit.core.contract import Declared
from deploykit.core.settings.budget import Budget
from deploykit.core.settings.option import complete
from deploykit.core.settings.options import SweepOptions
from deploykit.planning.limits import Limits
from deploykit.planning.protocol import Protocol


@dataclass(frozen=True)
class Settings:
    """How a sweep runs; none of it changes what a candidate is.

    Attributes:
        options: All options with their values.
    """

    options: SweepOptions

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """From the options that were given.

        Raises:
            SettingError: An unknown option or a bad value.
            MissingExtraError: The search needs a package that is not installed.
        """
        return cls(complete(SweepOptions, given))

    @property
    def limits(self) -> Limits:
        """Limits of child processes."""
        return Limits.of(self.options)

    @property
    def protocol(self) -> Protocol:
        """How latency is measured."""
        options = self.options
        return Protocol(options["launches"], adaptive=options["adaptive"], max_drop=options["max_drop"])

    @property
    def budget(self) -> Budget | None:
        """What a search may cost; None for a grid, which is the whole space."""
        return None if self.options["search"] == "grid" else Budget.of(self.options["budget"])

    @property
    def stops_above(self) -> float | None:
        """Loss above which an evaluation is stopped; None: all candidates are evaluated on all of the data."""
        return self.options["max_drop"] if self.options["racing"] else None

    @property
    def cost(self) -> str:
        """What makes one candidate cheaper than another in this sweep."""
        return "latency" if self.options["launches"] else "size"

    @property
    def declared(self) -> Declared:
        """What the user says of the signature."""
        return declared_of(self.options)


def declared_of(options: Mapping[str, Any]) -> Declared:
    """What options say of the signature."""
    said = ("output", "scores", "state", "constants", "boxes", "generate")
    return Declared.of(**{name: options[name] for name in said})
