"""Flags that may be given once: argparse alone takes the last of several values without a word."""

from __future__ import annotations

import argparse
from typing import Any


def refuse_repeats(parser: argparse.ArgumentParser) -> None:
    """Have flags that are declared from now on take one value, or say that they were given twice.

    Example:
        >>> import argparse
        >>> parser = argparse.ArgumentParser(exit_on_error=False)
        >>> refuse_repeats(parser)
        >>> _ = parser.add_argument("--port", type=int)
        >>> parser.parse_args(["--port", "1", "--port", "2"])
        Traceback (most recent call last):
        argparse.ArgumentError: argument --port: given twice, with 1 and 2; expected it once
    """
    for name in (None, "store"):
        parser.register("action", name, _Once)


class _Once(argparse.Action):
    """Stores one value. Belongs to a parser that parses once."""

    given = False

    def __call__(
        self, _parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, flag: str | None = None
    ) -> None:
        if self.given and flag is not None:
            before = getattr(namespace, self.dest)
            raise argparse.ArgumentError(self, f"given twice, with {before} and {values}; expected it once")
        self.given = True
        setattr(namespace, self.dest, values)


class Pairs(argparse.Action):
    """Collects names with their values, from ``NAME=VALUE`` or two arguments, in a dictionary."""

    def __call__(
        self, _parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, _flag: str | None = None
    ) -> None:
        name, value = values
        found = dict(getattr(namespace, self.dest) or {})
        if name in found:
            raise argparse.ArgumentError(
                self, f"{name!r} is given twice, with {found[name]} and {value}; expected once"
            )
        setattr(namespace, self.dest, {**found, name: value})
