"""The command line: one file for each verb.

A verb's module has ``HELP`` (one sentence), ``arguments(parser)`` and ``run(options)``, which returns the exit
status. Exit status: 0 done, 1 a clear error on stderr, 2 wrong usage, 130 interrupted by Ctrl-C; ``gate`` has more.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from deploykit._version import __version__
from deploykit.cli._shared.once import refuse_repeats
from deploykit.core.errors import DeploykitError
from deploykit.core.extras import explained

#: In the order of their use.
VERBS = (
    "inspect", "plan", "sweep", "sensitivity", "report", "explain", "compare", "rank", "gate", "export", "sign",
    "verify", "versions", "update", "deploy", "tune", "capacity", "serve", "monitor", "token", "key", "watermark",
    "batch", "clean", "worker", "devices", "doctor", "demo", "lab",
)  # fmt: skip
_DONE, _ERROR, _USAGE, _INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb and return the exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    chosen = next((a for a in arguments if a in VERBS), "")
    try:
        parser, verbs = _parser(chosen)
        options = parser.parse_args(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else _USAGE
    except ModuleNotFoundError as error:
        return _explain(error, debug="--debug" in arguments)
    try:
        status = int(verbs[options.verb].run(options) or _DONE)
        sys.stdout.flush()  # here, where a closed pipe is understood
        return status
    except KeyboardInterrupt:
        print("deploykit: interrupted.", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe, for example head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _ERROR
    except argparse.ArgumentTypeError as error:
        print(f"deploykit {options.verb}: {error}", file=sys.stderr)
        return _USAGE
    except Exception as error:
        return _explain(error, debug=options.debug)


def _parser(chosen: str) -> tuple[argparse.ArgumentParser, dict[str, ModuleType]]:
    parser = argparse.ArgumentParser(
        prog="deploykit",
        description="From a trained model to the cheapest served artifact that still does its job.",
        epilog="Run deploykit VERB --help for the options of a verb.",
    )
    parser.add_argument("--version", action="version", version=f"deploykit {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    modules = {}
    for name in VERBS:
        if chosen not in (name, ""):  # its help is not asked for: a server starts sooner without the other verbs
            verbs.add_parser(name)
            continue
        try:
            module = modules[name] = importlib.import_module(f"deploykit.cli.{name}")
        except ModuleNotFoundError as error:
            if chosen or explained(error) is None:
                raise
            continue  # a server's environment has no such verb
        verb = verbs.add_parser(
            name,
            help=module.HELP,
            description=module.HELP,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        refuse_repeats(verb)
        if chosen:
            module.arguments(verb)
        verb.add_argument("--json", action="store_true", help="print JSON on stdout instead of text")
        verb.add_argument("--debug", action="store_true", help="show the full traceback of an error")
    return parser, modules


def _explain(error: Exception, *, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
        return _ERROR
    if isinstance(error, ModuleNotFoundError):
        error = explained(error) or error
    if isinstance(error, DeploykitError):
        print(f"deploykit: {error}", file=sys.stderr)
    elif isinstance(error, OSError):
        print(f"deploykit: {error.filename or 'error'}: {error.strerror or error}.", file=sys.stderr)
    else:
        text = " ".join(str(error).split())
        print(f"deploykit: unexpected {type(error).__name__}: {text}. --debug shows where.", file=sys.stderr)
    return _ERROR
