"""``deploykit monitor SOURCE``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import deploykit as dk
from deploykit.cli._shared.show import note, show
from deploykit.core.errors import SettingError

HELP = "Watch a running server: latency, errors, resources, drift, accuracy and alarms; or read what one has written."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "source", metavar="SOURCE",
        help="address of a server, folder of a server's monitor (--monitor-folder), or access log in JSON",
    )  # fmt: skip
    parser.add_argument(
        "--sample", metavar="FILE",
        help="SOURCE is an artifact: compare examples as clients send them (.npz with an array for each input, or .npy)"
        " with what it was measured on",
    )  # fmt: skip
    parser.add_argument("--token-file", metavar="FILE", help="file with the token that the server asks for")
    parser.add_argument("--follow", action="store_true", help="print again every few seconds, until Ctrl-C")
    parser.add_argument("--every", metavar="S", type=float, default=5.0, help="seconds between prints (default: 5)")
    parser.add_argument("--labels", metavar="FILE", help="give true labels: a JSON object {request id: label}")
    parser.add_argument("--model", metavar="NAME", default="", help="the model that the labels are for")
    parser.add_argument("--rules", metavar="FILE", help="write alert rules for Prometheus")
    parser.add_argument(
        "--fail-on-alarm", action="store_true", help="exit with status 3 if an alarm lasts, for scripts and cron"
    )


def run(options: argparse.Namespace) -> int:
    """Run the verb."""
    if options.sample:
        found = dk.check_skew(options.source, _sample(options.sample))
        said = "\n".join(map(str, found)) or "Nothing seems to be wrong."
        show(options, said, {"found": [one.to_json() for one in found]})
        return 3 if options.fail_on_alarm and found else 0
    token = "" if options.token_file is None else _read(options.token_file).strip()
    with dk.monitor(options.source, token=token) as monitor:
        if options.labels:
            labels = _labels(options.labels)
            note(options, f"{monitor.labels(labels, name=options.model)} examples labeled")
        if options.rules:
            note(options, f"wrote {monitor.write_rules(options.rules)}")
        status = monitor.status()
        show(options, status, status.to_json())
        try:
            while options.follow:
                time.sleep(max(0.1, options.every))
                status = monitor.status()
                show(options, status, status.to_json())
                sys.stdout.flush()
        except KeyboardInterrupt:
            pass
    return 3 if options.fail_on_alarm and status.alarms else 0


def _sample(path: str) -> object:
    import numpy as np

    try:
        found = np.load(path, allow_pickle=False)
        return {name: found[name] for name in found.files} if hasattr(found, "files") else found
    except (OSError, ValueError) as error:
        raise SettingError(f"{path} cannot be read: {error}.", remedy="give an .npz or .npy of arrays.") from error


def _labels(path: str) -> dict[str, object]:
    try:
        found = json.loads(_read(path))
    except ValueError as error:
        raise SettingError(f"{path} is not JSON: {error}.", remedy="it holds an object {request id: label}.") from error
    if not isinstance(found, dict) or not found:
        raise SettingError(f"{path} holds no labels.", remedy="it holds an object {request id: label}.")
    return found


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} cannot be read: {error}.") from error
