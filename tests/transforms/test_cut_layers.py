"""Layers are left out in the order of what that costs, held against the bare ONNX Runtime."""

import numpy as np
import onnx
import pytest

from deploykit.core.errors import SettingError, UnsupportedModelError
from deploykit.data.dataset import Dataset
from deploykit.loading._load import load
from deploykit.testing import work
from deploykit.transforms._contract import TRANSFORMS
from tests.surgery import graphs, keras_models

pytestmark = pytest.mark.long


@pytest.fixture(params=["residual", "depthwise", "attention"])
def name(request):
    return request.param


@pytest.fixture
def given(name, tmp_path):
    return saved(name, tmp_path)


def saved(name, folder, count=300):
    onnx.save(graphs.graph(name), str(folder / "model.onnx"))
    Dataset.from_arrays({"x": graphs.examples(name, count)}, calibration_size=count // 2).save(folder / "data")
    return folder / "model.onnx", folder / "data"


def cut(given, target, **settings):
    return work.transformed("cut_layers", "onnx", *given[:1], target, given[1], **settings)


def test_architectures_lose_a_layer_and_most_of_the_damage_is_solved(name, given, tmp_path):
    notes = cut(given, tmp_path / "cut", count=1)
    plain = cut(given, tmp_path / "plain", count=1, reconstruct=False)
    assert notes["cut"] == plain["cut"]
    assert len(notes["cut"]) == 1
    assert notes["nodes"][1] < notes["nodes"][0]
    assert notes["weights"][1] < notes["weights"][0]
    x = graphs.examples(name, 40)
    before, solved, one = (graphs.run(onnx.load(str(p)), x) for p in (given[0], tmp_path / "cut", tmp_path / "plain"))
    worth = "not_reconstructed" not in notes
    assert worth or name == "attention", "random attention cannot make up for a layer"
    assert (np.square(solved - before).mean() < np.square(one - before).mean()) == worth


def test_what_is_missed_least_goes_first(tmp_path):
    given = saved("attention", tmp_path)
    first, second = cut(given, tmp_path / "cut", count=2, reconstruct=False, exclude="layer_r,layer_y")["cut"]
    data = Dataset.open(given[1]).calibration()["x"][:64]
    before = graphs.run(onnx.load(str(given[0])), data)
    layers = ("layer_q0", "layer_k0", "layer_v0", "layer_z")
    damages = {}
    for layer in layers:  # each alone
        left = ",".join(name for name in layers if name != layer)
        (alone,) = cut(given, tmp_path / layer, count=1, reconstruct=False, exclude=f"{left},layer_r,layer_y")["cut"]
        found = graphs.run(onnx.load(str(tmp_path / layer)), data)
        damages[layer] = np.square(found - before).mean() / np.square(before - before.mean(0)).mean()
        assert alone[0] == layer
        assert alone[3] == pytest.approx(damages[layer], rel=1e-3, abs=1e-4)
    assert [first[0], second[0]] == sorted(damages, key=damages.get)[:2]


def test_nothing_is_cut_at_zero(name, given, tmp_path):
    cut(given, tmp_path / "same", ratio=0.0)
    x = graphs.examples(name, 5)
    np.testing.assert_allclose(*(graphs.run(onnx.load(str(p)), x) for p in (given[0], tmp_path / "same")), atol=1e-5)


def test_a_share_is_of_what_can_be_cut(tmp_path):
    given = saved("attention", tmp_path)
    assert len(cut(given, tmp_path / "all", ratio=1.0, reconstruct=False)["cut"]) == 2, "the two blocks hold the rest"
    assert len(cut(given, tmp_path / "one", ratio=0.1, reconstruct=False)["cut"]) == 1


def test_a_step_is_called_by_its_count_or_its_share():
    technique = TRANSFORMS.get("cut_layers")
    assert technique.describe({"ratio": 0.5}) == "layer pruning 50 %"
    assert technique.describe({"count": 1, "ratio": 0.5}) == "layer pruning 1 layer"
    assert technique.describe({"count": 2, "reconstruct": False}) == "layer pruning 2 layers (no reconstruct)"


def test_layers_that_are_left_out_stay_also_inside_blocks(tmp_path):
    given = saved("residual", tmp_path)
    with pytest.raises(UnsupportedModelError, match=r"1 layers.*only 0 .*apart from those left out by exclude"):
        cut(given, tmp_path / "cut", count=1, exclude="layer_c")
    notes = cut(given, tmp_path / "block", count=1, exclude="!layer_d")
    assert notes["cut"][0][0] == "layer_d"
    with pytest.raises(SettingError, match="layer_q"):
        cut(given, tmp_path / "none", count=1, exclude="layer_q")


def test_more_than_there_is_is_refused(tmp_path):
    with pytest.raises(
        UnsupportedModelError, match=r"9 layers and blocks were to be cut, but only 1 of the model can be"
    ):
        cut(saved("residual", tmp_path), tmp_path / "cut", count=9)


def test_a_model_in_which_no_layer_keeps_the_shape_is_refused(tmp_path):
    with pytest.raises(UnsupportedModelError, match=r"No layer of the model can be cut.*prune_channels"):
        cut(saved("chain", tmp_path), tmp_path / "cut")


@pytest.fixture(scope="module")
def keras_model(folder):
    """Makes a Keras model with its data and its ONNX file."""

    def get(name):
        place = folder / "cut" / name
        if not place.exists():
            place.mkdir(parents=True)
            model = keras_models.build(name)
            (x,) = keras_models.examples(model, 200)
            keras_models.save(model, place / "model.keras")
            work.converted("keras_to_onnx", place / "model.keras", place / "model.onnx")
            Dataset.from_arrays(x, calibration_size=100).save(place / "data")
        return place

    return get


def cut_keras(place, target, **settings):
    return work.transformed("cut_layers", "keras", place / "model.keras", target, place / "data", **settings)


@pytest.mark.parametrize("name", ["residual", "attention", "nested_blocks", "stacked"])
def test_keras_models_lose_the_layer_that_was_measured(name, keras_model, tmp_path):
    place = keras_model(name)
    notes = cut_keras(place, tmp_path / "cut", count=1, reconstruct=False)
    ((_, _, weights, damage),) = notes["cut"]
    assert notes["weights"][0] - notes["weights"][1] >= weights > 0
    assert notes["damage"] == [pytest.approx(damage, rel=1e-3)]
    seen = next(iter(Dataset.open(place / "data").calibration().values()))[:64]
    key = load(place / "model.keras").inputs[0].name
    given, found = (
        next(iter(work.predicted(path, "keras", {key: seen}).values()))
        for path in (place / "model.keras", tmp_path / "cut")
    )
    lost = np.square(found - given).mean() / np.square(given - given.mean(0)).mean()
    assert damage == pytest.approx(lost, rel=1e-3), "the file loses what was measured without it"
    assert notes["nodes"][1] < notes["nodes"][0]
    solved = cut_keras(place, tmp_path / "solved", count=1)
    assert solved["cut"] == notes["cut"]
    assert "not_reconstructed" in solved or solved["damage"][1] < solved["damage"][0]


def test_a_block_of_a_keras_model_is_cut_with_its_branch(keras_model, tmp_path):
    place = keras_model("nested_blocks")
    notes = cut_keras(place, tmp_path / "cut", count=1, reconstruct=False, exclude="!body/sum")
    assert notes["cut"][0][:2] == ["body/sum", 3]
    before, after = work.weights_of(place / "model.keras"), work.weights_of(tmp_path / "cut")
    assert {name.split(".")[0] for name in before} - {name.split(".")[0] for name in after} == {
        "body",
        "first",
        "second",
    }
    for name, values in after.items():
        np.testing.assert_array_equal(values, before[name])
    assert [layer.name for layer in load(tmp_path / "cut").layers if layer.name in {"relu", "body/relu"}]


def test_keras_and_onnx_measure_the_same_damage(keras_model, tmp_path):
    place = keras_model("stacked")
    found = []
    for form in ("keras", "onnx"):
        notes = work.transformed(
            "cut_layers", form, place / f"model.{form}", tmp_path / form, place / "data", count=2, reconstruct=False
        )
        found.append([(weights, damage) for _, _, weights, damage in notes["cut"]])
    assert [damage for _, damage in found[0]] == pytest.approx([damage for _, damage in found[1]], rel=1e-3)


def test_a_keras_model_without_such_layers_is_refused(folder, tmp_path):
    x = np.random.default_rng(0).normal(0, 1, (60, 6, 3)).astype(np.float32)
    Dataset.from_arrays(x, calibration_size=20).save(tmp_path / "data")
    with pytest.raises(UnsupportedModelError, match=r"No layer of the model can be cut.*prune_channels"):
        work.transformed(
            "cut_layers", "keras", work.made("wrapped_recurrent", folder), tmp_path / "out", tmp_path / "data"
        )
