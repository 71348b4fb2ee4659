"""What all adapters have in common."""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

from deploykit.core import extras
from deploykit.core.errors import MissingExtraError

#: Name of an import group: its children are forked from one parent that has imported its frameworks. Groups are
#: adapters, see `deploykit.sandbox.groups`.
Group = str


class Adapter(ABC):
    """Facts of one runtime, format, converter, transform, metric, engine or exporter.

    Attributes:
        name: Its name in recipes, on the command line and in reports: the name of its file.
        label: Its name for people.
        help: One sentence.
        extra: The deploykit extra that installs all it needs; "": those that hold what is missing.
        requires: Import names it needs.
        group: Import group of the children that run it.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    help: ClassVar[str] = ""
    extra: ClassVar[str] = ""
    requires: ClassVar[tuple[str, ...]] = ()
    group: ClassVar[Group] = "light"

    def missing(self) -> str:
        """Why it cannot be used here, with the remedy; "" when it can. Imports nothing."""
        absent = [m for m in self.requires if not extras.installed(m)]
        if not absent:
            return ""
        names = ", ".join(extras.distribution(m) for m in absent)
        return f"{names} not installed; {extras.pip_line(absent, self.extra)}"

    def check_installed(self) -> None:
        """Raise `MissingExtraError` when a package it needs is missing."""
        if reason := self.missing():
            raise MissingExtraError(f"{self.label}: {reason}.")

    def versions(self) -> dict[str, str]:
        """Versions of the packages it needs, and of the one it comes from when that is not deploykit.

        Whatever it makes or measures is kept under them: an upgrade makes it do its work again.
        """
        found = dict(extras.provider(m) for m in self.requires)
        own = extras.plugin(type(self).__module__)
        return found if own is None else {**found, own[0]: own[1]}
