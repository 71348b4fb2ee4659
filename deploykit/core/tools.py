"""The adapters a piece of work uses, and the versions it depends on: what workers elsewhere must have as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deploykit.core.registry import registry
from deploykit.core.serial import Plain


@dataclass(frozen=True, order=True)
class Tool(Plain):
    """An adapter by its name.

    Attributes:
        package: The package of its kind, for example ``"deploykit.runtimes"``.
        name: Its name.
        variant: Name of the one of its variants that is used, "" when it has none.
    """

    package: str
    name: str
    variant: str = ""

    def __str__(self) -> str:
        return f"{self.package.rpartition('.')[2]}/{'/'.join(filter(None, (self.name, self.variant)))}"

    def versions(self) -> dict[str, str]:
        """Versions of the packages it needs here, "" for those that are missing.

        Raises:
            SettingError: There is no such adapter here.
            MissingExtraError: Its file imports a package that is not installed.
        """
        adapter = registry(self.package, "adapter").get(self.name)
        if not self.variant:
            return dict(adapter.versions())
        return {**adapter.versions(), **all_versions(adapter.variant(self.variant))}


def all_versions(adapter: Any) -> dict[str, str]:
    """Versions of an adapter's packages, its variants' and their stages' included."""
    found = dict(adapter.versions())
    for part in (*getattr(adapter, "variants", ()), *getattr(adapter, "stages", ())):
        found |= all_versions(part)
    return found
