"""``dk.tune``: how to serve a model for the highest rate whose p99 holds."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from deploykit.artifacts.artifact import Artifact, is_artifact
from deploykit.choosing.goals import decide
from deploykit.choosing.pareto import competing
from deploykit.core import extras
from deploykit.core.digest import json_digest
from deploykit.core.errors import GoalMissed, SettingError
from deploykit.core.parameter import Parameter
from deploykit.core.result import Result
from deploykit.core.serial import to_plain
from deploykit.core.settings.serving import ServingSettings
from deploykit.exporters._contract import EXPORTERS
from deploykit.exporters._export import export
from deploykit.measuring import environment
from deploykit.reporting.events import OnProgress
from deploykit.reporting.progress import automatic
from deploykit.serving.tuning.bodies import requests_of
from deploykit.serving.tuning.grid import TuningGrid
from deploykit.serving.tuning.measuring import Bench
from deploykit.serving.tuning.notes import Notes
from deploykit.serving.tuning.search import SHARE
from deploykit.serving.tuning.tuning import Tuning
from deploykit.serving.tuning.work import Work
from deploykit.serving.wires._json import SMALL_BYTES

if TYPE_CHECKING:
    from deploykit.reporting.report import Report

#: Largest batch of a server that is not tuned.
_USUAL_BATCH = 8
_CHECKS = (
    Parameter("p99_ms", "float", 1.0, minimum=1e-3, maximum=3.6e6),
    Parameter("rounds", "int", 5, minimum=2, maximum=1000),
    Parameter("seconds", "float", 0.5, minimum=0.01, maximum=3600),
    Parameter("share", "float", SHARE, minimum=1e-3, maximum=1),
)


def tune(
    source: Artifact | Report | str | Path,
    *,
    p99_ms: float,
    concurrency: Sequence[int] = (1, 8, 32),
    max_drop: float | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    workers: Sequence[int] | None = None,
    threads: Sequence[int] | None = None,
    largest_batch: Sequence[int] | None = None,
    readers: Sequence[int] | None = None,
    requests: str = "binary",
    rounds: int = 5,
    seconds: float = 0.5,
    share: float = SHARE,
    save: bool = True,
    resume: str | Path | None = None,
    progress: OnProgress | None = None,
) -> Tuning:
    """Find how to serve a model: the highest rate whose 99th percentile of latency holds on this machine.

    Servers are started with combinations of workers, threads, largest batch and readers, and get the artifact's golden
    inputs as requests over some connections at once, from processes with cores of their own. A search measures a fifth
    of the combinations; the best few and the settings without tuning are then measured in turns. The choice goes into
    the artifact's manifest, where `serve` finds it.

    It holds for this machine and these requests. Those who send take some of the machine, so that the server can do
    rather more. Nothing else should run meanwhile.

    Args:
        source: An artifact or its folder; or a report or its store: then the best candidate on each runtime is tried,
            of those that are confirmed to lose at most ``max_drop``.
        p99_ms: The limit, milliseconds. It must be confirmed (95 % confidence over rounds).
        concurrency: Connections at once, each with one request at a time. The rate is the highest at any of them.
        max_drop: Largest loss of the metric, see `Report.best`; of a report only.
        out: Folder to export the choice to; of a report only.
        overwrite: Replace any folder that is there.
        workers: Numbers of processes to try; None: powers of two up to the cores.
        threads: Numbers of threads of one inference to try; None: the same.
        largest_batch: Largest batches to try; None: powers of two up to the connections, at most 32.
        readers: Numbers of threads that read long requests; None: powers of two up to the cores where requests are
            long, else one.
        requests: What is sent: ``"binary"`` tensors of the Open Inference Protocol v2, or ``"json"`` as TensorFlow
            Serving's REST protocol has it.
        rounds: Rounds of each point before the choice; more give narrower intervals.
        seconds: Length of a round; slow models get up to five times as long.
        share: Share of the combinations that is measured; 1: all, thoroughly.
        save: Write the choice to the manifest.
        resume: File that keeps what the search has measured; a run with the same file continues from there.
        progress: Called whenever the state changes; None: a bar or lines. Ctrl-C ends it with what is measured.

    Returns:
        The choice, all rows, and the curve of rate against latency.

    Raises:
        SettingError: A setting is out of range.
        GoalMissed: No candidate of the report is confirmed to lose at most ``max_drop``.
        ExportError: There is neither an artifact nor a report at that path.
        MissingExtraError: A package is not installed.

    Example:
        >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
        >>> artifact = dk.export(built, "exported/tuned", overwrite=True)
        >>> tuning = dk.tune(artifact, p99_ms=60_000, concurrency=[2], workers=[1], threads=[1], seconds=0.05)
        ONNX Runtime...
        >>> dk.Artifact.open(artifact.path).manifest.serving == tuning.best.settings
        True
    """
    extras.check("sweep")
    given = {"p99_ms": p99_ms, "rounds": rounds, "seconds": seconds, "share": share}
    p99_ms, rounds, seconds, share = (check.check(given[check.name], "") for check in _CHECKS)  # type: ignore[assignment]
    source = _opened(source)
    if isinstance(source, Artifact) and (max_drop is not None or out is not None):
        raise SettingError("The arguments max_drop and out are for reports.", remedy="leave them out, or give a store.")
    with ExitStack() as stack:
        artifacts, candidates = _artifacts(source, max_drop, stack)
        first = next(iter(artifacts.values()))
        sent = requests_of(first, requests)
        grid = TuningGrid.of(
            tuple(artifacts), concurrency, environment.core_count(),
            joins=not all(artifact.manifest.batch_dependent for artifact in artifacts.values()),
            long_requests=requests == "json" and max(map(len, sent)) > SMALL_BYTES,
            workers=[1] if os.name == "nt" else workers, threads=threads, largest_batch=largest_batch, readers=readers,
        )  # fmt: skip
        baseline = _usual(first, grid)
        notes = Notes(_key(artifacts, requests, seconds), resume)
        bench = stack.enter_context(Bench(artifacts, sent, seconds))
        say = stack.enter_context(automatic(progress))
        finished = Work(bench, grid, notes, p99_ms, rounds, share, baseline, say).run()
    tuning = Tuning(
        artifact="" if candidates else str(first.path),
        name=first.manifest.name,
        candidates=candidates,
        p99_ms=p99_ms,
        grid=grid,
        rows=notes.rows(),
        rounds=notes.rounds,
        whole=grid.size * rounds,
        baseline=baseline,
        requests=requests,
        environment=to_plain(environment.here()),
        finished=finished,
    )
    if not (finished and tuning.met):
        return tuning
    if not isinstance(source, Artifact) and out is not None:
        made = export(source.choice_for(tuning.candidate, max_drop=max_drop), out, overwrite=overwrite)
        tuning = replace(tuning, artifact=str(made.path))
    if save and tuning.artifact:
        tuning.apply()
    return tuning


def _artifacts(
    source: Artifact | Report, max_drop: float | None, stack: ExitStack
) -> tuple[dict[str, Artifact], dict[str, str]]:
    """What can be served, by runtime, and the candidates they are made of; the best one is first.

    Raises:
        GoalMissed: No candidate is confirmed to lose little enough.
    """
    if isinstance(source, Artifact):
        return {source.manifest.target.runtime: source}, {}
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deploykit-tune-")))
    artifacts, candidates = {}, {}
    for row in _candidates(source, max_drop):
        runtime = row.candidate.target.runtime
        artifacts[runtime] = export(source.choice_for(row.key, max_drop=max_drop), folder / runtime)
        candidates[runtime] = row.key
    return artifacts, candidates


def _candidates(report: Report, max_drop: float | None) -> list[Result]:
    """The best candidate on each runtime, of those that are confirmed to lose little enough; the fastest first."""
    goal = report.goal("latency", max_drop)
    rows = competing(report.rows, report.baseline)
    folder = EXPORTERS.get("folder")
    found = []
    reason = ""
    for runtime in dict.fromkeys(row.candidate.target.runtime for row in rows):
        own = [row for row in rows if row.candidate.target.runtime == runtime]
        decision = decide(own, goal, lambda row: folder.refuses(row.format), relative=report.relative)
        if decision.met and decision.winner is not None:
            found.append(decision.winner)
        reason = reason or decision.reason
    if not found:
        raise GoalMissed(f"There is nothing to tune: {reason}", remedy="allow a larger max_drop (--max-drop).")
    return sorted(found, key=lambda row: row.measurement.latency.p50_ms.value)  # type: ignore[union-attr]  # measured


def _opened(source: Artifact | Report | str | Path) -> Artifact | Report:
    """What there is to tune.

    Raises:
        ExportError: The path does not hold an artifact.
        StoreError: The store does not hold a report.
    """
    if not isinstance(source, str | Path):
        return source
    if is_artifact(Path(source)):
        return Artifact.open(source)
    from deploykit.reporting.report import Report  # not there where artifacts are served, which can be tuned there

    return Report.open(source)


def _usual(artifact: Artifact, grid: TuningGrid) -> ServingSettings:
    """The settings of a server that is not tuned, as far as the grid has them."""

    def nearest(axis: Sequence[int], value: int) -> int:
        return max((one for one in axis if one <= value), default=axis[0])

    threads = nearest(grid.threads, artifact.manifest.target.threads)
    return ServingSettings(
        nearest(grid.workers, 1), threads, nearest(grid.largest_batch, _USUAL_BATCH), nearest(grid.readers, 1)
    )


def _key(artifacts: Mapping[str, Artifact], requests: str, seconds: float) -> str:
    """What is measured and where, as far as it decides what is found."""
    files = {runtime: artifact.manifest.files for runtime, artifact in artifacts.items()}
    return json_digest({"files": files, "requests": requests, "seconds": seconds, **environment.hardware()})
