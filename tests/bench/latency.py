"""Whether latency claims can be trusted: the same file against itself, many times, while the machine is busy.

Each trial times a baseline, its clone and a third session of the very same file as a sweep does, and asks what would be
reported of the third one. The truth is known: a speed-up of exactly 1. Printed beside it is what timing one after the
other would have said in the same minute: each session alone in a launch of its own, medians compared at 5 %.

    python tests/bench/latency.py [--trials 60] [--busy 1] [--runtime onnxruntime] [--over-ssh] [--json FILE]

With ``--over-ssh`` the trials go over SSH to a server on this machine, as with ``engine="ssh://user@host"``.

Targets: at most 1 false claim in 60, intervals that hold the truth in at least 53 of 60, a median full width of at most
3 % within 10 seconds of timing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import statistics
import tempfile
import threading
import time
from pathlib import Path

import deploykit as dk
from deploykit.core.candidate import Recipe, Target
from deploykit.core.tools import Tool
from deploykit.engines._contract import start
from deploykit.measuring.latency import Launch, Timed, Timer
from deploykit.measuring.ratios import BASELINE, CLONE, latencies, steady
from deploykit.planning.protocol import Protocol
from deploykit.runtimes._contract import RUNTIMES
from deploykit.testing.sshd import SshServer

_HERE = Path(__file__).parents[2] / "notebooks"
_PROTOCOL = Protocol()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--busy", type=int, default=1, help="processes that compute in bursts meanwhile")
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--over-ssh", action="store_true", help="measure over SSH, on a server on this machine")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    model = dk.load(_HERE / "models" / "fashion_cnn.keras")
    data = dk.Dataset.from_npz(
        _HERE / "data" / "fashion-mnist.npz", preprocess=dk.Preprocess(scale=1 / 255, reshape=(28, 28, 1))
    )
    built = dk.build(model, Recipe(), data, target=options.runtime)
    noise = [multiprocessing.Process(target=_bursts, args=(i,), daemon=True) for i in range(options.busy)]
    for process in noise:
        process.start()
    try:
        trials = _trials(built, data, options)
    finally:
        for process in noise:
            process.kill()
    found = _summary(trials)
    print(_table(found, options))
    if options.json:
        options.json.write_text(json.dumps({"summary": found, "trials": trials}, indent=1))


def _trials(built: dk.BuiltCandidate, data: dk.Dataset, options: argparse.Namespace) -> list[dict[str, float | str]]:
    found = []
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        engine = stack.enter_context(SshServer(Path(folder) / "sshd")).engine if options.over_ssh else "local"
        running = stack.enter_context(start(engine, threading.Event()))
        running.require({"cpu"}, [Tool("deploykit.runtimes", options.runtime)])
        data.save(Path(folder) / "data")
        (logs := Path(folder) / "logs").mkdir()
        target = Target(options.runtime)
        group = RUNTIMES.get(options.runtime).group
        entries = [Timed(key, str(built.path), built.item.format, target, group) for key in (BASELINE, CLONE, "same")]
        for trial in range(options.trials):
            timer = Timer(running, Path(folder) / "data", logs, seed=trial)
            launches: list[Launch] = []
            while len(launches) < _PROTOCOL.launches or (
                len(launches) < _PROTOCOL.most
                and not steady(launches)
                and sum(x.seconds for x in launches) * (1 + 1 / len(launches)) <= _PROTOCOL.budget_s
            ):
                launches.append(timer.launch(len(launches), entries))
            latency = latencies(launches, {"same": None})["same"]
            one, two = (statistics.median(launches[0].series[k].times_ns) for k in (BASELINE, "same"))
            found.append(
                {
                    "claim": latency.claim,
                    "launches": len(launches),
                    "speedup": latency.speedup.value,
                    "low": latency.speedup.low,
                    "high": latency.speedup.high,
                    "seconds": sum(x.seconds for x in launches),
                    "timing_s": sum(sum(x.series["same"].times_ns) for x in launches) / 1e9,
                    "contiguous": one / two,
                }
            )
            print(f"trial {trial + 1:2}: {latency.claim:7} x{latency.speedup.value:.4f} "
                  f"[{latency.speedup.low:.4f}, {latency.speedup.high:.4f}]", flush=True)  # fmt: skip
    return found


def _summary(trials: list[dict]) -> dict[str, float]:
    return {
        "trials": len(trials),
        "false claims": sum(t["claim"] in {"faster", "slower"} for t in trials),
        "intervals that hold the truth": sum(t["low"] <= 1 <= t["high"] for t in trials),
        "median full width, %": 100 * statistics.median(t["high"] - t["low"] for t in trials),
        "median launches": statistics.median(t["launches"] for t in trials),
        "median seconds of timing the candidate": statistics.median(t["timing_s"] for t in trials),
        "median seconds of a trial (three sessions)": statistics.median(t["seconds"] for t in trials),
        "one after the other: called >5 % different": sum(abs(t["contiguous"] - 1) > 0.05 for t in trials),
    }


def _table(found: dict[str, float], options: argparse.Namespace) -> str:
    how = " over SSH to this machine" if options.over_ssh else ""
    lines = [f"the same file against itself on {options.runtime}{how}, {options.busy} busy process(es)"]
    lines += [f"  {name:55} {value:8.2f}" if isinstance(value, float) else f"  {name:55} {value:8}"
              for name, value in found.items()]  # fmt: skip
    return "\n".join(lines)


def _bursts(seed: int) -> None:
    """Compute for a while, rest for a while, for ever."""
    import random

    rng = random.Random(seed)
    while True:
        end = time.monotonic() + rng.uniform(0.05, 0.5)
        while time.monotonic() < end:
            sum(i * i for i in range(1000))
        time.sleep(rng.uniform(0.05, 0.5))


if __name__ == "__main__":
    main()
