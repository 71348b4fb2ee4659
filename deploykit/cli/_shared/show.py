"""Printing results, as text for people or as JSON."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from deploykit.core.serial import dump


def show(options: argparse.Namespace, text: object, data: Any) -> None:
    """Print ``text``, or ``data`` as JSON when ``--json`` is given."""
    print(dump(data, indent=True).decode() if options.json else printable(str(text)))


def note(options: argparse.Namespace, text: str) -> None:
    """Print a line for people; on stderr with ``--json``, so that stdout is JSON only."""
    print(printable(text), file=sys.stderr if options.json else sys.stdout, flush=True)


def printable(text: str) -> str:
    """Text in which names from files cannot move the cursor or change colors."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


def columns(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Rows as aligned columns; those in ``right`` are aligned right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        .rstrip()
        for row in rows
    )  # fmt: skip
