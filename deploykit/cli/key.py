"""``deploykit key``: secret keys."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import deploykit as dk
from deploykit.cli._shared.show import show
from deploykit.core.errors import SettingError
from deploykit.core.security.keys import Key, read_key

HELP = "Make the keys that artifacts are encrypted and signed with; show which key is at a place."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "action", choices=("new", "id", "pair"),
        help="make a secret key; show the id of the one at a place; or make a key pair to sign artifacts with",
    )  # fmt: skip
    parser.add_argument(
        "place", metavar="WHERE", nargs="?", default="",
        help="of new: file to write the key to, which only you can read (default: it is printed); of id: env:NAME, "
        "file:PATH, keyring:NAME or cmd:PROGRAM ARGUMENTS; of pair: name of the files without .key and .pub",
    )  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    if options.action != "new" and not options.place:
        raise argparse.ArgumentTypeError(f"{options.action} takes the place of a key, or the name of its files.")
    if options.action == "pair":
        private, public = dk.new_key_pair(options.place)
        found = {"private": str(private), "public": str(public)}
        show(options, f"{private} signs, and stays with you\n{public} checks: give it to those who serve", found)
        return
    if options.action == "id":
        key = read_key(options.place)
        show(options, key.id, {"id": key.id})
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
