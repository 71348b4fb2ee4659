"""``deploykit key``: secret keys."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import deploykit as dk
from deploykit.cli._shared.show import show
from deploykit.core.errors import SettingError
from deploykit.core.security.keys import Key, read_key

HELP = "Make the keys that artifacts are encrypted and watermarked with; show which key is at a place."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("action", choices=("new", "id"), help="make a key; or show the id of the one at a place")
    parser.add_argument(
        "place", metavar="FILE|PLACE", nargs="?", default="",
        help="file to write the new key to, which only you can read (default: it is printed); or env:NAME, file:PATH, "
        "keyring:NAME or cmd:PROGRAM ARGUMENTS",
    )  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    if options.action == "id":
        if not options.place:
            raise argparse.ArgumentTypeError("give the place of a key.")
        found = read_key(options.place)
        show(options, found.id, {"id": found.id})
        return
    text = dk.new_key()
    number = Key.of_text(text).id
    if not options.place:
        show(options, text, {"key": text, "id": number})  # the only time that it is shown
        return
    path = Path(options.place).expanduser()
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:  # a key that is overwritten is lost, and what was encrypted with it
        raise SettingError(f"Cannot make {path}: {error.strerror}.", remedy="choose another name.") from error
    show(options, f"{path} holds the new key {number}", {"file": str(path), "id": number})
