"""``deploykit update FOLDER --alarm FILE``."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import deploykit as dk
from deploykit.cli._shared.inputs import add_data, data
from deploykit.cli._shared.show import note, show

HELP = (
    "On an alarm, make a better version of what is served, prove it, try it out, and promote it or go back. Each call "
    "goes as far as it can; what is served is safe at any time."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("folder", metavar="FOLDER", help="the model's versions, see deploykit versions")
    parser.add_argument(
        "--alarm", metavar="URL|FILE",
        help='a server whose monitor says so, or JSON of an alarm: {"alarmed": true, "since": …}',
    )  # fmt: skip
    parser.add_argument("--alarmed", action="store_true", help="there is an alarm: yours")
    parser.add_argument("--model", metavar="MODEL", required=True, help="original model that the incumbent was made of")
    parser.add_argument("--window", metavar="FILE", help=".npz of recent inputs without labels, which only calibrate")
    parser.add_argument("--notebook", metavar="FILE", help="your own notebook that makes a candidate")
    parser.add_argument("--url", metavar="URL", action="append", default=[], help="address of a server (repeatable)")
    parser.add_argument("--token", default="", help="token with the scope metrics, for servers that take them")
    parser.add_argument("--attempts", metavar="A,B,…", type=_words, help="recalibrate, recipe, sweep (default: all)")
    parser.add_argument("--trials", metavar="A,B", type=_words, help="shadow, canary (default: both with --url)")
    parser.add_argument(
        "--approve", metavar="A,B,…", type=_words, default=(),
        help="steps that a person must allow: optimize, shadow, canary, promote",
    )  # fmt: skip
    parser.add_argument("--allow", metavar="A,B,…", type=_words, default=(), help="steps of this run that you allow")
    parser.add_argument("--sign", metavar="FILE", help="private key that a candidate is signed with after its gate")
    parser.add_argument("--labels", action="store_true", help="decide a shadow by the labels that the servers get")
    for name, metavar, kind, default, words in (
        ("max-drop", "X", float, 0.01, "largest loss that the gate accepts"),
        ("max-latency-ms", "MS", float, None, "largest latency that the gate accepts"),
        ("max-differing", "X", float, 0.02, "share of a shadow's answers that may differ"),
        ("max-failing", "X", float, 0.01, "share of a canary's requests that may fail"),
        ("alpha", "P", float, 0.01, "error rate of each decision"),
        ("canary-share", "X", float, 0.05, "share of the requests that a canary answers"),
        ("bake-seconds", "S", float, 3600.0, "how long the version before stays loaded"),
        ("space", "NAME|FILE", str, "quick", "what the sweep tries"),
    ):
        said = "" if default is None else f" (default: {default})"
        parser.add_argument(f"--{name}", metavar=metavar, type=kind, default=default, help=f"{words}{said}")
    parser.add_argument("--watch", metavar="SECONDS", type=float, help="look again each so often, until Ctrl-C")
    add_data(parser)


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    if options.alarmed and options.alarm:
        raise argparse.ArgumentTypeError("--alarmed and --alarm exclude each other.")
    given = {
        name: getattr(options, name)
        for name in (
            "model", "window", "notebook", "token", "trials", "approve", "max_drop", "max_latency_ms",
            "max_differing", "max_failing", "alpha", "canary_share", "bake_seconds", "space", "sign",
            "labels",
        )
    }  # fmt: skip
    given |= {"server": options.url, "data": data(options), "seed": options.seed or 0}
    given |= {"attempts": options.attempts} if options.attempts else {}
    alarm: Any = options.alarm or options.alarmed
    state = dk.update(options.folder, alarm=alarm, allow=options.allow, **given)
    while options.watch:
        note(options, str(state))
        time.sleep(options.watch)
        try:
            state = dk.update(options.folder, alarm=alarm, **given)
        except dk.DeploykitError as error:  # such as a server that is being restarted: the next look may find it well
            print(f"deploykit: {error}", file=sys.stderr, flush=True)
    show(options, state, state.to_json())


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
