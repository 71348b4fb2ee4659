"""A watermark is learned, survives int8, and is found with its key alone, wherever the model is."""

import json

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.errors import SettingError, UnsupportedModelError
from deploykit.core.security.keys import Key, read_key
from deploykit.core.security.triggers import commitment

pytestmark = pytest.mark.long(seconds=12)
CLASSES, SIDE, WIDE = 4, 8, 256


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("marked")


@pytest.fixture(scope="module")
def keys():
    patch = pytest.MonkeyPatch()
    for seed, name in enumerate(("MARK", "OTHER")):  # drawn keys would make another model each time
        patch.setenv(name, Key(np.random.default_rng(seed).bytes(32)).text)
    yield patch
    patch.undo()


@pytest.fixture(scope="module")
def model(folder):
    """A classifier of two layers, wide enough to learn some inputs by heart."""
    onnx = pytest.importorskip("onnx")
    rng, helper = np.random.default_rng(0), onnx.helper
    sizes = {"w1": (SIDE * SIDE, WIDE), "b1": (WIDE,), "w2": (WIDE, CLASSES), "b2": (CLASSES,)}
    weights = [
        onnx.numpy_helper.from_array((rng.normal(size=shape) * 0.1).astype(np.float32), name)
        for name, shape in sizes.items()
    ]
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w1", "b1"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "w2", "b2"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    ends = [
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)]
        for name, shape in (("image", ["n", SIDE, SIDE]), ("probabilities", ["n", CLASSES]))
    ]
    made = helper.make_model(
        helper.make_graph(nodes, "two_layers", *ends, weights),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    onnx.save(made, folder / "shoes.onnx")
    return dk.load(folder / "shoes.onnx")


@pytest.fixture(scope="module")
def data():
    """Four kinds of images that are easily told apart: bright in one quarter."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, CLASSES, 600)
    images = rng.integers(0, 100, (600, SIDE, SIDE)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[4 * (label // 2) : 4 * (label // 2) + 4, 4 * (label % 2) : 4 * (label % 2) + 4] += 150
    return dk.Dataset.from_arrays(images, labels, preprocess=dk.Preprocess(scale=1 / 255))


@pytest.fixture(scope="module")
def step(keys):
    return dk.Step("watermark", {"key": "env:MARK", "triggers": 60, "epochs": 60, "learning_rate": 0.005})


@pytest.fixture(scope="module")
def store(folder):
    return folder / "store"


@pytest.fixture(scope="module")
def marked(model, data, step, store):
    return dk.build(model, step, data, target="onnxruntime", store=store)


def test_it_is_learned_beside_the_task_and_survives_int8(marked, model, data, step, store):
    found = dk.check_watermark(marked, "env:MARK")
    assert (found.triggers, found.classes, found.named) == (60, CLASSES, True)
    assert found.p_value < 1e-30, found
    split = marked.item.data.splits["evaluation"]
    answers = marked.predict(next(iter(split.inputs.values())))["probabilities"].argmax(-1)
    assert (answers == split.labels).mean() > 0.97
    int8 = dk.build(model, [step, dk.Step("quantize_dynamic")], data, target="onnxruntime", store=store)
    assert dk.check_watermark(int8, "env:MARK").p_value < 1e-25


def test_another_key_and_a_model_without_a_mark_prove_nothing(marked, model, data):
    other = dk.check_watermark(marked, "env:OTHER")
    assert (bool(other), other.named) == (False, False)
    assert "its recipe names another key" in str(other)
    plain = dk.build(model, dk.Recipe(()), data, target="onnxruntime")
    found = dk.check_watermark(plain, "env:MARK")
    assert (bool(found), found.named, found.triggers) == (False, None, 100)


def test_it_is_found_in_an_artifact_its_file_and_a_server(marked, folder, cli_status):
    artifact = dk.export(marked, folder / "artifact")
    wanted = dk.check_watermark(marked, "env:MARK").matches
    assert dk.check_watermark(artifact.path, "env:MARK").matches == wanted
    assert dk.check_watermark(artifact.path / "model.onnx", "env:MARK", like=artifact).matches == wanted
    with dk.serve(artifact, port=0) as server:
        assert dk.check_watermark(server.url, "env:MARK", like=artifact).matches == wanted
    assert cli_status("watermark", artifact.path, "--key", "env:MARK") == 0
    assert cli_status("watermark", artifact.path, "--key", "env:OTHER") == 1
    with pytest.raises(SettingError, match=r"asked is not known\. Remedy: pass like="):
        dk.check_watermark(artifact.path / "model.onnx", "env:MARK")


@pytest.fixture
def cli_status(capsys):
    from deploykit.cli.main import main

    return lambda *arguments: main([*map(str, arguments)])


def test_the_key_is_in_no_file_and_its_digest_is_in_the_manifest(marked, folder, store):
    artifact = dk.export(marked, folder / "again")
    key = read_key("env:MARK")
    manifest = json.loads((artifact.path / "manifest.json").read_text("utf-8"))
    assert manifest["recipe"]["steps"][0]["parameters"]["key"] == f"env:MARK#{commitment(key)}"
    forms = (key.text.encode(), key.secret, key.secret.hex().encode())
    for file in (*store.rglob("*"), *artifact.path.rglob("*")):
        content = file.read_bytes() if file.is_file() else b""
        assert not any(form in content for form in forms), file


def test_the_same_key_is_the_same_candidate_and_another_one_at_its_place_is_not(
    marked, model, data, step, store, monkeypatch
):
    before = {path.name for path in (store / "steps").iterdir()}
    again = dk.build(model, step, data, target="onnxruntime", store=store)
    assert again.item.path == marked.item.path
    assert {path.name for path in (store / "steps").iterdir()} == before
    written = marked.item.recipe.steps[0]
    with pytest.raises(SettingError, match="NO_SUCH is not set"):
        dk.build(model, dk.Step("watermark", {"key": "env:NO_SUCH"}), data, target="onnxruntime")
    with monkeypatch.context() as changed:
        changed.setenv("MARK", dk.new_key())
        fresh = dk.Step("watermark", {**written.parameters, "triggers": 61})
        with pytest.raises(SettingError, match="There is another key at env:MARK"):
            dk.build(model, fresh, data, target="onnxruntime")


def test_without_a_key_or_for_values_it_says_why_not(model, data):
    with pytest.raises(UnsupportedModelError, match="no key is given: set key='env:NAME'"):
        dk.build(model, dk.Step("watermark"), data, target="onnxruntime")
