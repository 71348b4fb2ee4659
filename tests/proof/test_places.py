"""Every format on every runtime and device of this machine, from a file to a verified artifact, and the table of it."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.errors import DeploykitError
from deploykit.core.registry import registry
from deploykit.loading._contract import FORMATS
from deploykit.testing import models

#: Read by `docs.tools.places`.
TABLE = Path(__file__).parent / "places.json"
RUNTIMES = registry("deploykit.runtimes", "runtime")


@pytest.fixture(scope="module")
def table():
    """What was found, written at the end: format → runtime → device → proved, or why not; runtime → device → state."""
    states = {}
    for row in dk.devices().rows:
        states.setdefault(row.runtime, {})[row.device or "cpu"] = row.state
    found = {"devices": states, "formats": {}}
    yield found
    kept = {"devices": {}, "formats": {}}
    with contextlib.suppress(FileNotFoundError):
        kept = json.loads(TABLE.read_text("utf-8"))
    kept["devices"] = {**kept["devices"], **found["devices"]}
    for name, ways in found["formats"].items():
        kept["formats"][name] = {**kept["formats"].get(name, {}), **ways}
    TABLE.write_text(json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")


@pytest.mark.proof(
    "Each format is loaded, swept, exported and verified on each runtime and device that is here",
    against="TensorFlow, ONNX Runtime, LiteRT, OpenVINO, PyTorch",
)
@pytest.mark.parametrize("runtime", RUNTIMES.names())
@pytest.mark.parametrize("given", FORMATS.names())
def test_a_format_on_a_runtime(given, runtime, zoo, table, tmp_path):
    model = dk.load(zoo(models.cnn({given})))
    found = table["formats"].setdefault(given, {}).setdefault(runtime, {})
    shape = tuple(model.inputs[0].shape[1:])
    rng = np.random.default_rng(0)
    data = dk.Dataset.from_arrays(rng.random((64, *shape), np.float32), rng.integers(0, 3, 64))
    for device, state in table["devices"][runtime].items():
        found[device] = state
        if state != "ready":
            continue
        space = dk.Space([dk.Recipe()], [dk.Target(runtime, device)])
        try:
            report = dk.sweep(model, data, space, store=tmp_path / device, launches=0, progress=lambda _: None)
        except DeploykitError as error:
            if error.__class__.__name__ == "SettingError":  # nothing leads from this format to this runtime
                found[device] = f"not possible: {error}".partition("\n")[0]
                continue
            raise
        rows = [row for row in report.rows if row.candidate.target == dk.Target(runtime, device)]
        if not rows:
            found[device] = "not possible"
            continue
        (row,) = rows
        assert row.status == "measured", row.failure
        choice = report.choice_for(row.key)
        answers = choice.predict(data.sample(8))
        assert all(np.isfinite(values).all() for values in answers.values())
        assert row.measurement.score.drop.value == pytest.approx(0, abs=1e-6)
        artifact = dk.export(choice, tmp_path / f"{device}-out", name="placed")
        assert dk.verify(artifact).ok
        found[device] = "proved"
