"""``deploykit tune ARTIFACT|STORE``."""

from __future__ import annotations

import argparse

import deploykit as dk
from deploykit.cli._shared.show import show
from deploykit.cli._shared.watch import Watch

HELP = (
    "Find how to serve a model: the workers, threads, batches and runtime that give the highest rate whose 99th "
    "percentile of latency holds. The choice goes into the artifact, where serve finds it."
)
_AXES = {
    "workers": "numbers of processes to try (default: powers of two up to the cores)",
    "threads": "numbers of threads of one inference to try (default: the same)",
    "largest-batch": "largest batches to try (default: powers of two up to the connections, at most 32)",
    "readers": "numbers of threads that read long requests to try (default: one, or the same if requests are long)",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("source", metavar="ARTIFACT|STORE", help="artifact folder, or a sweep's store")
    parser.add_argument("--p99-ms", metavar="MS", type=float, required=True, help="99th percentile that must hold")
    parser.add_argument(
        "--concurrency", metavar="N,N,…", type=_numbers, default=[1, 8, 32],
        help="connections at once, each with one request at a time (default: 1,8,32)",
    )  # fmt: skip
    parser.add_argument(
        "--max-drop", metavar="D", type=float,
        help="largest loss of the metric for candidates of a store (default: the sweep's, or 0.01)",
    )  # fmt: skip
    parser.add_argument("--out", metavar="ARTIFACT", help="folder to export the choice to, from a store")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing artifact")
    for name, text in _AXES.items():
        parser.add_argument(f"--{name}", metavar="N,N,…", type=_numbers, help=text)
    parser.add_argument(
        "--requests", choices=("binary", "json"), default="binary",
        help="what is sent: binary tensors of Open Inference v2, or TensorFlow Serving's JSON (default: binary)",
    )  # fmt: skip
    parser.add_argument("--rounds", metavar="N", type=int, default=5, help="rounds before the choice (default: 5)")
    parser.add_argument("--seconds", metavar="S", type=float, default=0.5, help="length of a round (default: 0.5)")
    parser.add_argument(
        "--share", metavar="S", type=float, default=0.2,
        help="share of the combinations that is measured; 1: all, thoroughly (default: 0.2)",
    )  # fmt: skip
    parser.add_argument("--no-save", action="store_true", help="leave the artifact as it is")
    parser.add_argument("--resume", metavar="FILE", help="keep what is measured in this file, and resume from it")
    parser.add_argument("--require", action="store_true", help="fail if no p99 is confirmed to hold")


def run(options: argparse.Namespace) -> int:
    """Run the verb."""
    watch = Watch()
    tuning = dk.tune(
        options.source,
        p99_ms=options.p99_ms,
        concurrency=options.concurrency,
        max_drop=options.max_drop,
        out=options.out,
        overwrite=options.overwrite,
        workers=options.workers,
        threads=options.threads,
        largest_batch=options.largest_batch,
        readers=options.readers,
        requests=options.requests,
        rounds=options.rounds,
        seconds=options.seconds,
        share=options.share,
        save=not options.no_save,
        resume=options.resume,
        progress=watch,
    )
    show(options, tuning, tuning.to_json())
    if options.require and tuning.finished:
        tuning.require()
    return 0 if tuning.finished else 130


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected whole numbers separated by commas, got {text!r}") from None
