"""Choices and help that come from the adapters: a new adapter is on the command line without a line here."""

from __future__ import annotations

import argparse
from typing import Any

from deploykit.core.registry import registry


def names(package: str, what: str) -> tuple[str, ...]:
    """Names of all adapters of a package."""
    return registry(f"deploykit.{package}", what).names()


def describe(parser: argparse.ArgumentParser, title: str, package: str, what: str) -> None:
    """Add the adapters of a package, with their settings, to the end of a verb's help."""
    lines = [f"{title}:"]
    for adapter in registry(f"deploykit.{package}", what).all():
        lines.append(f"  {adapter.name:<22} {adapter.help or adapter.label}")
        lines += [f"  {'':<22}   {_setting(p)}" for p in getattr(adapter, "parameters", ())]
    parser.epilog = "\n".join([*([parser.epilog, ""] if parser.epilog else []), *lines])


def _setting(parameter: Any) -> str:
    allowed = " | ".join(parameter.choices) or parameter.bounds or ("true | false" if parameter.kind == "bool" else "")
    unit = f" {parameter.unit}" if parameter.unit else ""
    return f"{parameter.name}: {allowed}{', ' if allowed else ''}default {_value(parameter.default)}{unit}"


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else "none" if value is None else str(value)
