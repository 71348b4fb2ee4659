"""Names, order, types and values of inputs and outputs, the same before and after every conversion."""

from pathlib import Path

import numpy as np
import pytest

from deploykit.converters._contract import CONVERTERS
from deploykit.core.errors import UnsupportedModelError
from deploykit.data.dataset import Dataset
from deploykit.loading._contract import FORMATS
from deploykit.loading._load import load
from deploykit.planning.examination import examine
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task
from deploykit.testing import work

#: Converters of Keras files.
OF_KERAS = [converter.name for converter in CONVERTERS.all() if converter.accepts == "keras"]
#: Kinds of models in `zoo.py`.
SIGNATURES = (
    "single", "list_of_two", "dictionaries", "nested_dictionaries", "shared_layer", "passed_through",
    "one_tensor_twice", "two_outputs_of_a_layer", "nested_with_two_outputs", "sequential_inside",
)  # fmt: skip
LAYERS = ("refused_names", "mixed_precision", "discretized", "other_types", "free_length", "stateful")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Kind of model and ending → its file, and the names of its inputs and outputs."""
    folder, known = tmp_path_factory.mktemp("zoo"), {}
    here = str(Path(__file__).parent)

    def get(kind, ending=".keras"):
        if (kind, ending) not in known:
            path = folder / f"{kind}{ending}"
            task = Task("zoo:make", {"kind": kind, "path": str(path)}, group="tensorflow")
            known[kind, ending] = path, shared().run(task)
        return known[kind, ending]

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(here)
        yield get


def fully(path):
    """What Keras says of a file."""
    task = Task(
        "deploykit.loading._load:read_summary",
        {"format": path.suffix[1:], "path": str(path), "trusted": False, "imports": [], "fully": True},
        group="tensorflow",
    )
    return shared().run(task)


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("kind", SIGNATURES)
def test_readers_agree_on_names_and_order(kind, ending, made):
    path, names = made(kind, ending)
    form = FORMATS.get(ending[1:])
    static = form.read(path, trusted=False, imports=()).to_json()
    told = fully(path)
    for side in ("inputs", "outputs"):
        assert [spec["name"] for spec in told[side]] == names[side]
        if static["outputs"]:  # else the config does not report the shapes, and Keras is asked
            assert static[side] == told[side]


@pytest.mark.parametrize("kind", LAYERS)
def test_readers_agree_on_types_and_state(kind, made):
    path, names = made(kind)
    static = FORMATS.get("keras").read(path, trusted=False, imports=()).to_json()
    told = fully(path)
    assert [spec["name"] for spec in told["outputs"]] == names["outputs"]
    if static["outputs"]:
        assert [static[side] for side in ("inputs", "outputs")] == [told[side] for side in ("inputs", "outputs")]
    stateful = [layer["name"] for layer in told["layers"] if layer["type"] in ("Bidirectional", "GRU")]
    assert static["stateful"] == told["stateful"] == stateful


def compare(path, names, converter, target, tolerance):
    notes = work.converted(converter, path, target)
    model = load(target)
    calls = notes["names"]
    for side, specs in (("inputs", model.inputs), ("outputs", model.outputs)):
        assert list(calls[side]) == names[side]
        listed = [spec.name for spec in specs]
        assert sorted(listed) == sorted(calls[side].values())
        if model.format != "saved_model":  # which keeps no order
            assert listed == list(calls[side].values())
    feeds, wanted = (work.arrays(Path(f"{path}.{side}.npz")) for side in ("inputs", "outputs"))
    found = work.predicted(target, model.format, {calls["inputs"][k]: v for k, v in feeds.items()})
    assert set(found) == set(calls["outputs"].values())
    for name, value in wanted.items():
        got = found[calls["outputs"][name]]
        assert got.dtype == value.dtype, name
        np.testing.assert_allclose(got, value, rtol=tolerance, atol=tolerance * max(1, np.abs(value).max()))
    return model, notes


@pytest.mark.parametrize("converter", OF_KERAS)
@pytest.mark.parametrize("kind", SIGNATURES)
def test_tensors_are_the_same_by_name(kind, converter, made, tmp_path):
    path, names = made(kind)
    compare(path, names, converter, tmp_path / "out", 1e-5)


@pytest.mark.parametrize("converter", OF_KERAS)
@pytest.mark.parametrize("kind", LAYERS)
def test_what_layers_hold_beside_weights_stays(kind, converter, made, tmp_path):
    path, names = made(kind)
    tolerance = 3e-3 if kind == "mixed_precision" else 1e-4
    model, notes = compare(path, names, converter, tmp_path / "out", tolerance)
    if kind == "mixed_precision":
        assert "compute in float32" in notes["precision"]
    if kind == "stateful":
        assert "fresh state" in notes["state"]
    if kind == "free_length":
        assert model.inputs[0].shape == (None, None, 3)


def test_wrapped_layers_begin_with_fresh_state_where_the_model_as_given_runs(made):
    """A Bidirectional holds its two layers where they are not layers of the model."""
    path, _ = made("stateful")
    x = np.random.default_rng(0).normal(size=(60, 5, 3)).astype(np.float32)
    found = examine(load(path), Dataset.from_arrays(x))
    assert found.repeats
    assert not found.failure


def test_h5_files_keep_names_too(made, tmp_path):
    path, names = made("dictionaries", ".h5")
    compare(path, names, "h5_to_keras", tmp_path / "out", 1e-6)


def test_names_are_changed_where_a_format_must(made, tmp_path):
    path, _ = made("refused_names")
    assert work.converted("keras_to_saved_model", path, tmp_path / "a")["names"]["inputs"] == {
        "mein Eingang": "mein_Eingang"
    }
    assert work.converted("keras_to_onnx", path, tmp_path / "b")["names"]["outputs"]["größe_1"] == "größe_1"
    path, _ = made("passed_through")
    assert work.converted("keras_to_onnx", path, tmp_path / "c")["names"]["outputs"] == {"a": "a_1", "d": "d"}


@pytest.mark.parametrize("target", ["saved_model", "onnx"])  # TFLite has no matrix product of doubles
def test_doubles_stay_doubles(target, made, tmp_path):
    path, names = made("double")
    compare(path, names, f"keras_to_{target}", tmp_path / "out", 1e-12)


def test_lookup_tables_travel_or_are_named(made, tmp_path):
    path, names = made("looked_up")
    compare(path, names, "keras_to_saved_model", tmp_path / "out", 1e-6)
    for target, label in (("onnx", "ONNX"), ("tflite", "TFLite")):
        with pytest.raises(
            UnsupportedModelError, match=rf"{label} has no lookup tables.*'words' \(TextVectorization\)"
        ):
            work.converted(f"keras_to_{target}", path, tmp_path / target)
        assert not (tmp_path / target).exists()
