"""evidently's preset on windows from a file; run in evidently's own environment by ``tests/bench/drift.py``."""

from __future__ import annotations

import json
import sys
import warnings

import numpy as np

WINDOW = 500
_COLUMNS = ["mean", "contrast", "confidence", "entropy"]


def main() -> None:
    """Print alarms on clean windows and delays by kind: an alarm is a column that the preset calls drifted."""
    warnings.simplefilter("ignore")
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    definition = DataDefinition(numerical_columns=_COLUMNS)

    def given(rows):  # type: ignore[no-untyped-def]
        return Dataset.from_pandas(pd.DataFrame(rows, columns=_COLUMNS), data_definition=definition)

    with np.load(sys.argv[1]) as file:
        streams = {name: file[name] for name in file.files}
    change, reference = int(streams.pop("change")), given(streams.pop("reference"))

    def drifted(rows) -> int:  # type: ignore[no-untyped-def]
        result = Report([DataDriftPreset()]).run(given(rows), reference).dict()
        counts = [m["value"]["count"] for m in result["metrics"] if "DriftedColumnsCount" in m["metric_name"]]
        return int(counts[0])

    found: dict[str, list[float]] = {}
    clean = streams.pop("clean")[: 80 * WINDOW].reshape(80, WINDOW, 4)
    found["clean"] = [np.mean([drifted(window) > 0 for window in clean]) * 200_000 / WINDOW]
    found["bursts"] = [sum(drifted(w) > 0 for w in streams.pop("bursts")[0][: 20 * WINDOW].reshape(20, WINDOW, 4))]
    for name, runs in streams.items():
        found[name] = []
        for run in runs[:5]:
            after = run[change:]
            windows = [after[a : a + WINDOW] for a in range(0, len(after) - WINDOW + 1, WINDOW)]
            place = next((i for i, w in enumerate(windows) if drifted(w)), None)
            found[name].append(float("inf") if place is None else (place + 1) * WINDOW)
    print(json.dumps({"evidently preset, 500": found}))


if __name__ == "__main__":
    main()
