"""river's detectors on streams from a file; run in river's own environment by ``tests/bench/drift.py``."""

from __future__ import annotations

import json
import sys

import numpy as np
from river import drift


def first(make, values, change: int) -> tuple[int, float]:  # type: ignore[no-untyped-def]
    """Alarms before the change, and requests after it until the next one (infinite without)."""
    detector, false = make(), 0
    for place, value in enumerate(values):
        detector.update(float(value))
        if detector.drift_detected:
            if place >= change:
                return false, place - change + 1
            false += 1
    return false, float("inf")


def main() -> None:
    """Print alarms on clean requests and delays by detector and kind."""
    with np.load(sys.argv[1]) as file:
        streams = {name: file[name] for name in file.files}
    change = int(streams.pop("change"))
    del streams["reference"]
    found: dict[str, dict[str, list[float]]] = {}
    makers = {
        "river ADWIN": drift.ADWIN,
        "river PageHinkley": drift.PageHinkley,
        "river KSWIN": lambda: drift.KSWIN(seed=0),
    }
    for label, make in makers.items():
        found[label] = {}
        for name, stream in streams.items():
            confidence = stream[..., 2]
            if name == "clean":
                short = confidence[:20_000] if "KSWIN" in label else confidence
                false, _ = first(make, short, len(short))
                found[label]["clean"] = [false * 200_000 / len(short)]
            elif name == "bursts":
                found[label]["bursts"] = [first(make, run, len(run))[0] for run in confidence]
            else:
                found[label][name] = [first(make, run, change)[1] for run in confidence]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
