"""``deploykit gate INCUMBENT CHALLENGER --data DATA``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import deploykit as dk
from deploykit.cli._shared.inputs import add_data, add_imports, data
from deploykit.cli._shared.options import add_options, given
from deploykit.cli._shared.show import note, show
from deploykit.core.settings.options import BuildOptions

HELP = (
    "Decide whether a challenger may take the incumbent's place, with error rates stated beforehand. Exit status: "
    "0 ACCEPT, 3 REGRESSION, 4 INCONCLUSIVE, 5 INFEASIBLE."
)
_STATUS = {"ACCEPT": 0, "REGRESSION": 3, "INCONCLUSIVE": 4, "INFEASIBLE": 5}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("incumbent", metavar="INCUMBENT", help="what is there: an artifact, or a model file")
    parser.add_argument("challenger", metavar="CHALLENGER", help="what may take its place, in the same way")
    add_imports(parser)
    parser.add_argument(
        "--max-drop",
        metavar="X",
        type=float,
        default=0.01,
        help="largest loss allowed: absolute for accuracies, relative for errors (default: 0.01)",
    )
    parser.add_argument(
        "--max-latency-ms",
        metavar="MS",
        type=float,
        help="largest median latency of one inference allowed (default: latency is not measured)",
    )
    parser.add_argument(
        "--alpha",
        metavar="P",
        type=float,
        default=0.01,
        help="largest probability of ACCEPT beyond a limit, and of REGRESSION within all (default: 0.01)",
    )
    parser.add_argument(
        "--power",
        metavar="P",
        type=float,
        default=0.9,
        help="probability of the right verdict for which the examples needed are stated (default: 0.9)",
    )
    parser.add_argument("--metric", metavar="NAME", default="auto", help="quality to keep (default: auto)")
    parser.add_argument(
        "--split",
        choices=("held_out", "evaluation", "test", "all"),
        default="held_out",
        help="examples to compare on; all where neither model was trained on any of them (default: held_out)",
    )
    parser.add_argument(
        "--expected-differing",
        metavar="X",
        type=float,
        default=0.05,
        help="share of examples that only one of both is expected to get right (default: 0.05)",
    )
    parser.add_argument("--launches", metavar="N", type=int, default=10, help="timing launches (default: 10)")
    parser.add_argument("--markdown", metavar="FILE", help="also write a table for a pull request")
    parser.add_argument("--junit", metavar="FILE", help="also write a JUnit report")
    add_data(parser)
    add_options(parser, BuildOptions)


def run(options: argparse.Namespace) -> int:
    """Run the verb."""
    found = dk.compare(
        _model(options.incumbent, options),
        _model(options.challenger, options),
        data(options),
        max_drop=options.max_drop,
        max_latency_ms=options.max_latency_ms,
        alpha=options.alpha,
        power=options.power,
        metric=options.metric,
        split=options.split,
        expected_differing=options.expected_differing,
        launches=options.launches,
        stated=lambda plan: print(plan, file=sys.stderr, flush=True),
        **given(options, BuildOptions),
    )
    for path, write in ((options.markdown, found.to_markdown), (options.junit, found.to_junit)):
        if path:
            write(path)
            note(options, f"wrote {path}")
    show(options, found, found.to_json())
    return _STATUS[found.verdict]


def _model(path: str, options: argparse.Namespace) -> Any:
    """A path as it is, or the model in it where its layers are the user's own."""
    if not options.imports or (Path(path) / "manifest.json").is_file():
        return path
    sys.path.insert(0, str(Path.cwd()))
    return dk.load(path, imports=options.imports)
