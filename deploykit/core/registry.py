"""Adapters are found by file name: one file ending in ``ADAPTER = …`` adds one thing, in one place.

A registry lists the modules of a package without importing them; names that begin with ``_`` are helpers. Installed
packages can add adapters through an entry point whose group is the package's dotted name.
"""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Generic, TypeVar

from deploykit.core.errors import MissingExtraError, SettingError, unknown_name
from deploykit.core.extras import stamps

T = TypeVar("T")


class Registry(Generic[T]):
    """The adapters of one package.

    Args:
        package: Dotted name of the package that holds the adapter files, also the entry-point group.
        what: What an adapter of it is called in messages, for example ``"runtime"``.
    """

    def __init__(self, package: str, what: str) -> None:
        self.package = package
        self.what = what
        self._known: dict[str, str] = {}
        self._stamps: object = None

    def names(self) -> tuple[str, ...]:
        """Names of all adapters, sorted; imports none of them."""
        return tuple(sorted(self._locations()))

    def get(self, name: str) -> T:
        """The adapter called ``name``; ``name:value`` is one with that setting, where its adapters have one.

        Raises:
            SettingError: There is no such adapter (lists the known ones), or its file is malformed.
            MissingExtraError: Its file imports an optional package that is not installed.
        """
        locations = self._locations()
        own, colon, value = name.partition(":")
        if colon and own in locations and (configured := getattr(self.get(own), "configured", None)) is not None:
            with_setting: T = configured(value)
            return with_setting
        if name not in locations:
            raise unknown_name(self.what, name, locations)
        module_name, _, attribute = locations[name].partition(":")
        adapter = getattr(importlib.import_module(module_name), attribute, None)
        if adapter is None:
            raise SettingError(f"{module_name} defines no {attribute}.", remedy=f"end the file with {attribute} = …")
        if getattr(adapter, "name", None) != name:
            raise SettingError(
                f"{module_name}: the adapter's name is {getattr(adapter, 'name', None)!r}, its file says {name!r}.",
                remedy="give the file and the adapter the same name.",
            )
        return adapter  # type: ignore[no-any-return]  # checked by the conformance suites

    def all(self) -> Iterator[T]:
        """All adapters whose files can be imported here."""
        for name in self.names():
            try:
                yield self.get(name)
            except MissingExtraError:
                continue

    def preload(self) -> None:
        """Import all adapters that can be; `get` explains what keeps the others from it."""
        with contextlib.suppress(SettingError):
            for name in self.names():
                with contextlib.suppress(Exception):
                    self.get(name)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str) or ":" not in name or name.partition(":")[0] not in self._locations():
            return name in self._locations()
        try:
            self.get(name)
        except SettingError:
            return False
        return True

    def _locations(self) -> dict[str, str]:
        package = importlib.import_module(self.package)
        now = stamps([*package.__path__, *sys.path])
        if now != self._stamps:
            self._known, self._stamps = self._look(package), now
        return self._known

    def _look(self, package: ModuleType) -> dict[str, str]:
        found = {
            module.name: f"{self.package}.{module.name}:ADAPTER"
            for module in pkgutil.iter_modules(package.__path__)
            if not module.name.startswith("_") and not module.ispkg
        }
        for point in _entry_points(self.package):
            if point.name in found:
                raise SettingError(
                    f"Two {self.what}s are called {point.name!r}: {found[point.name]} and {point.value}.",
                    remedy="uninstall or rename one of them.",
                )
            found[point.name] = point.value
        return found


def _entry_points(group: str) -> Iterable[EntryPoint]:
    found: Iterable[EntryPoint] = _all_entry_points(tuple(sys.path)).select(group=group)
    return found


@cache
def _all_entry_points(path: tuple[str, ...]) -> Any:
    """Entry points of all installed packages, whose files are read once for all groups.

    ``path`` is where they are looked for, so that a longer path is read again.
    """
    return entry_points()


def present(kinds: Iterable[str]) -> list[str]:
    """The packages of adapters that are there: what only serves has none that make candidates."""
    return [kind for kind in kinds if find_spec(f"deploykit.{kind}")]


def registry(package: str, what: str) -> Registry[Any]:
    """An untyped registry, for callers that may not import the package's contract (shells, core)."""
    return Registry(package, what)
