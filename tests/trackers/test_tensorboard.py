"""Event files as TensorBoard's own reader finds them; `make proof` asks its server."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import deploykit as dk
from deploykit.core.errors import SettingError, StoreError
from deploykit.testing.trackers import TrackerConformance

FINISHED = Path(__file__).parents[2] / "notebooks" / "finished"
#: Prints what TensorBoard reads in a folder, as JSON, without TensorFlow.
READ = """\
import json
import sys
from types import ModuleType

sys.modules["tensorboard.compat.notf"] = ModuleType("notf")  # what TensorBoard's own build for this has

from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

runs = EventMultiplexer().AddRunsFromDirectory(sys.argv[1]).Reload()
found = {}
for name, tags in runs.Runs().items():
    accumulator = runs.GetAccumulator(name)
    content = {}
    for data in accumulator.PluginTagToContent("hparams").values():
        message = HParamsPluginData.FromString(data)
        kind = message.WhichOneof("data")
        if kind == "session_start_info":
            content["hparams"] = {
                key: getattr(value, value.WhichOneof("kind"))
                for key, value in message.session_start_info.hparams.items()
            }
        elif kind == "session_end_info":
            content["status"] = message.session_end_info.status
        else:
            content["metrics"] = [info.name.tag for info in message.experiment.metric_infos]
            content["names"] = [info.name for info in message.experiment.hparam_infos]
    content["scalars"] = {}
    for tag in tags["tensors"]:
        (event,) = accumulator.Tensors(tag)
        if not tag.startswith("_hparams_"):
            content["scalars"][tag] = event.tensor_proto.float_val[0]
    found[name] = content
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def report():
    return dk.Report.open(FINISHED)


@pytest.fixture(scope="module")
def found(report, tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    report.log_to("tensorboard", folder)
    done = subprocess.run([sys.executable, "-c", READ, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class TestTensorBoard(TrackerConformance):
    @pytest.fixture
    def name(self):
        return "tensorboard"

    @pytest.fixture
    def place(self, tmp_path):
        return str(tmp_path / "board")


def test_each_candidate_is_a_session_with_its_numbers(report, found):
    (sweep,) = (name for name in found if "/" not in name)
    assert found.keys() == {sweep, *(f"{sweep}/{row.key}" for row in report.rows)}
    frame = report.to_frame()
    for key, row in frame.iterrows():
        session = found[f"{sweep}/{key}"]
        assert session["status"] == 1
        assert session["hparams"]["recipe"] == row["candidate"]
        assert session["hparams"]["runtime"] == row["runtime"]
        assert session["scalars"]["accuracy"] == pytest.approx(row["value"])
        assert session["scalars"]["size_bytes"] == row["size_bytes"]
        assert session["scalars"]["p50_ms"] == pytest.approx(row["p50_ms"])


def test_settings_are_told_with_their_defaults_and_types(report, found):
    (row,) = (r for r in report.rows if r.label == "magnitude pruning 50 %" and r.format == "saved_model")
    (session,) = (content for name, content in found.items() if name.endswith(f"/{row.key}"))
    assert session["hparams"]["prune_magnitude.sparsity"] == 0.5
    assert session["hparams"]["prune_magnitude.pattern"] == "unstructured"
    (sweep,) = (content for name, content in found.items() if "/" not in name)
    assert sweep["metrics"][0] == "accuracy"
    assert {"recipe", "runtime", "prune_magnitude.sparsity", "quantize_static.per_channel"} <= set(sweep["names"])


def test_what_has_changed_takes_the_place_of_what_was_there(report, tmp_path):
    report.log_to("tensorboard", tmp_path)
    before = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*tfevents*"))
    best = report.best(minimize="size", max_drop=1.0).key
    assert best != report.best().key
    again = report.log_to("tensorboard", tmp_path, minimize="size", max_drop=1.0)
    assert again.written == 3  # the sweep, the best one and the one that was
    after = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*tfevents*"))
    assert len(after) == len(before) == len(report.rows) + 1
    assert len(set(after) - set(before)) == 3


def test_a_place_that_is_not_a_folder(report, tmp_path):
    with pytest.raises(SettingError, match="TensorBoard reads a folder, got ''"):
        report.log_to("tensorboard")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"file.* cannot be written"):
        report.log_to("tensorboard", tmp_path / "file")
    with pytest.raises(SettingError, match="papyrus"):
        report.log_to("tensorboard", tmp_path, papyrus=1)
    with pytest.raises(SettingError, match="tensorboard"):
        report.log_to("papyrus", tmp_path)
