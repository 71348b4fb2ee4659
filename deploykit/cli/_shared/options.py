"""Flags of the options in `deploykit.core.settings.options`: a new option is a flag without a line here."""

from __future__ import annotations

import argparse
from typing import Any

from deploykit.cli._shared.once import Pairs
from deploykit.core.errors import SettingError
from deploykit.core.settings.option import Option, options_of


def add_options(parser: argparse._ActionsContainer, group: type) -> None:
    """A flag for each option of a group that has none yet. What is not given has the default of the function."""
    present = {action.dest for action in parser._actions}
    for name, option in options_of(group).items():
        if name not in present:
            _add(parser, name, option)


def given(options: argparse.Namespace, group: type) -> dict[str, Any]:
    """The options of a group that were given, as keyword arguments of the public functions."""
    values = {name: getattr(options, name) for name in options_of(group)}
    return {name: value for name, value in values.items() if value is not None}


def _add(parser: argparse._ActionsContainer, name: str, option: Option) -> None:
    flag = f"--{(option.flag or name).replace('_', '-')}"
    if option.kind == "bool":
        help_, constant = (option.no, False) if option.default else (_sentence(option), True)
        flag = f"--no-{flag.removeprefix('--')}" if option.default else flag
        parser.add_argument(flag, dest=name, action="store_const", const=constant, help=help_.replace("%", "%%"))
        return
    parser.add_argument(
        flag,
        dest=name,
        metavar=option.metavar,
        type=_reader(option),
        action=Pairs if option.pairs else "store",
        help=f"{_sentence(option)}{_default(option)}{_repeatable(option)}".replace("%", "%%"),
    )


def _reader(option: Option) -> Any:
    if option.pairs:
        return lambda text: _pair(text, option)
    if option.adapters and not option.address:
        return lambda text: _named(text, option)
    return {"int": int, "float": float}.get(option.kind, str)


def _named(text: str, option: Option) -> Any:
    if text.replace("_", "").isalnum() and text not in option.known:
        raise argparse.ArgumentTypeError(f"invalid choice: {text!r} (choose from {', '.join(option.known)})")
    try:
        return option.check(text)
    except SettingError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _pair(text: str, option: Option) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not {option.metavar}")
    return name, option.parse(value) if option.parse else value


def _sentence(option: Option) -> str:
    words = option.help.removesuffix(".")
    names = f": {', '.join(option.known)}" if option.adapters else ""
    return f"{words[:1].lower()}{words[1:]}{names}"


def _default(option: Option) -> str:
    said = option.usual or ("" if option.default is None else f"{option.default}")
    special = f"; {option.special[0]:g} to {option.special[1]}" if option.special else ""
    return f" (default: {said}{special})" if said else ""


def _repeatable(option: Option) -> str:
    return " (repeatable)" if option.pairs else ""
