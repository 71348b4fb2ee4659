"""``deploykit token``: who may use a server."""

from __future__ import annotations

import argparse
from pathlib import Path

from deploykit.cli._shared.show import show
from deploykit.core.errors import SettingError
from deploykit.core.security.audit import verify_audit
from deploykit.core.security.tokens import SCOPES, Token, Tokens

#: What rules are unless they are given.
_RULES = {"scope": None, "per_second": 0.0, "at_once": 0, "per_day": 0, "outputs": "all"}
HELP = "Make, list and remove the tokens that deploykit serve --tokens asks for; check an audit log."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "action", choices=("add", "list", "remove", "audit"),
        help="what to do; audit checks the file of deploykit serve --audit",
    )  # fmt: skip
    parser.add_argument("file", metavar="FILE", type=Path, help="file of tokens, which add makes; or an audit log")
    parser.add_argument(
        "name", metavar="NAME", nargs="?", default="",
        help="name of the token, to add or remove it; or the digest of a line that must be in the audit log",
    )  # fmt: skip
    group = parser.add_argument_group("rules of a new token")
    group.add_argument(
        "--scope", action="append", choices=SCOPES, help="what it is for; may be repeated (default: predict)"
    )
    group.add_argument("--per-second", metavar="N", type=float, default=0.0, help="most predictions per second")
    group.add_argument("--at-once", metavar="N", type=int, default=0, help="most predictions in progress in a worker")
    group.add_argument("--per-day", metavar="N", type=int, default=0, help="most examples a day (UTC)")
    group.add_argument(
        "--outputs",
        metavar="RULE",
        default="all",
        help="how much of an answer it sees: all, label, top-N (scores of the best classes) or rounded-N (digits)",
    )


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    path: Path = options.file
    if options.action != "add" and (rules := [name for name, value in _RULES.items() if vars(options)[name] != value]):
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in rules)
        raise argparse.ArgumentTypeError(f"{flags}: only a token that is added has rules; remove it and add it again.")
    if options.action == "audit":
        found = verify_audit(path, options.name)
        show(
            options, f"{found.lines:,} lines, none changed or removed; the last one has the digest\n{found.last}", found
        )
        return
    if (options.action == "list") == bool(options.name):
        raise argparse.ArgumentTypeError("give NAME to add or remove a token, and only then.")
    tokens = Tokens() if options.action == "add" and not path.exists() else Tokens.open(path)
    if options.action == "list":
        shown = "\n".join(_line(token) for token in tokens.by_name.values()) or "no tokens"
        show(options, shown, [{k: v for k, v in t.to_json().items() if k != "digest"} for t in tokens.by_name.values()])
    elif options.action == "remove":
        tokens.remove(options.name)
        tokens.save(path)
        show(options, f"removed {options.name}", {"removed": options.name})
    else:
        secret = tokens.add(
            options.name,
            scopes=tuple(dict.fromkeys(options.scope or ["predict"])),
            per_second=options.per_second,
            at_once=options.at_once,
            per_day=options.per_day,
            outputs=options.outputs,
        )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingError(f"Cannot make {path.parent}: {error.strerror}.", remedy="choose another.") from error
        tokens.save(path)
        # The only time that it is shown: the file has its digest.
        show(options, secret, {"name": options.name, "token": secret})


def _line(token: Token) -> str:
    rules = [
        ", ".join(token.scopes),
        *([f"{token.per_second:g} a second"] if token.per_second else []),
        *([f"{token.at_once} at once"] if token.at_once else []),
        *([f"{token.per_day:,} examples a day"] if token.per_day else []),
        *([f"outputs {token.outputs}"] if token.outputs != "all" else []),
    ]
    return f"{token.name}: {'; '.join(rules)}"
