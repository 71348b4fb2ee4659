"""``dk.explain_example`` on models whose answer can be computed beside it, as every kind of argument."""

import base64
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import deploykit as dk
from deploykit.core.errors import DatasetError, ExportError, SettingError
from deploykit.reporting.attribution import drawing

FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.normal(0, 1, (12, 12)).astype(np.float32)
COLUMNS = RANDOM.normal(0, 1, (14, 1)).astype(np.float32)
EMBEDDING = RANDOM.normal(0, 0.7, (20, 3)).astype(np.float32)
WORDS = {"good": 2.0, "bad": -3.0, "film": 0.5, "not": -1.0}


def graph(folder, name, nodes, given, gives, weights):
    """Write an ONNX graph; opset 21, whose StringSplit and TfIdfVectorizer read text."""
    found = helper.make_graph(
        [helper.make_node(*one[:3], f"{name}_{i}", **(one[3] if len(one) > 3 else {})) for i, one in enumerate(nodes)],
        name,
        [helper.make_tensor_value_info(given[0], given[1], ["batch", *given[2]])],
        [helper.make_tensor_value_info(gives[0], FLOAT, ["batch", *gives[1]])],
        [numpy_helper.from_array(value, key) for key, value in weights.items()],
    )
    path = folder / f"{name}.onnx"
    onnx.save(helper.make_model(found, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]), path)
    return dk.load(path)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """An image's answer is the sum of its pixels times known weights."""
    nodes = [("Flatten", ["image"], ["flat"]), ("MatMul", ["flat", "w"], ["value"])]
    model = graph(tmp_path_factory.mktemp("image"), "image", nodes, ("image", FLOAT, [12, 12]), ("value", [1]),
                  {"w": PIXELS.reshape(-1, 1)})  # fmt: skip
    random = np.random.default_rng(1)
    data = dk.Dataset.from_arrays(random.random((80, 12, 12)).astype(np.float32), random.random(80))
    return model, data


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """14 columns, whose weighted sum is the answer: its Shapley values are known."""
    nodes = [("MatMul", ["columns", "w"], ["value"])]
    model = graph(tmp_path_factory.mktemp("table"), "table", nodes, ("columns", FLOAT, [14]), ("value", [1]),
                  {"w": COLUMNS})  # fmt: skip
    random = np.random.default_rng(2)
    data = dk.Dataset.from_arrays(random.normal(0, 1, (80, 14)).astype(np.float32), random.random(80))
    return model, data


def test_occlusion_is_the_mean_loss_over_the_patches_that_hide_a_place(image):
    model, data = image
    found = dk.explain_example(model, 3, data=data, patch=3, tilings=9)
    assert (found.parts[0].kind, found.parts[0].method) == ("image", "occlusion")
    assert not found.classes
    assert found.stability is None  # all nine ways to cover it were taken
    x = data.splits["evaluation"].inputs["image"][3] if "image" in data.inputs else data.sample(4)[3]
    fill = dk.Dataset.calibration(data.check(model), slice(0, 50))["image"].mean()
    lost, seen = np.zeros((12, 12)), np.zeros((12, 12))
    for top in range(-2, 12):
        for left in range(-2, 12):
            place = np.s_[max(0, top) : top + 3, max(0, left) : left + 3]
            hidden = x.copy()
            hidden[place] = fill
            lost[place] += ((x - hidden) * PIXELS).sum()
            seen[place] += 1
    assert (seen == 9).all()
    assert found.values["image"] == pytest.approx(lost / 9, abs=1e-4)
    assert found.score == pytest.approx((x * PIXELS).sum(), rel=1e-4)


def test_columns_get_the_shapley_values_that_a_linear_model_has(table):
    model, data = table
    names = [f"column {i}" for i in range(14)]
    found = dk.explain_example(model, data.sample(1)[0], data=data, coalitions=200, names=names)
    mean = data.check(model).calibration(slice(0, 50))["columns"].mean(axis=0)
    truth = COLUMNS[:, 0] * (data.sample(1)[0] - mean)
    assert found.parts[0].method == "kernel_shap"
    assert found.values["columns"] == pytest.approx(truth, abs=1e-4)
    assert found.values["columns"].sum() == pytest.approx(found.score - found.base, abs=1e-4)
    assert found.noise == pytest.approx(0, abs=1e-5)
    assert found.strongest(1)[0]["name"] == names[int(abs(truth).argmax())]
    again = dk.explain_example(model, data.sample(1), data=data, method="occlusion")
    assert again.values["columns"] == pytest.approx(truth, abs=1e-4)  # of a linear model they are the same
    assert again.base is None


def test_tokens_are_hidden_one_by_one_and_padding_is_not(tmp_path):
    nodes = [
        ("Gather", ["e", "ids"], ["vectors"]),
        ("ReduceSum", ["vectors", "axis"], ["scores"], {"keepdims": 0}),
        ("Softmax", ["scores"], ["class"], {"axis": -1}),
    ]
    model = graph(tmp_path, "tokens", nodes, ("ids", INT64, [6]), ("class", [3]),
                  {"e": EMBEDDING, "axis": np.array([1])})  # fmt: skip
    data = dk.Dataset.from_arrays(RANDOM.integers(1, 20, (60, 6)), np.arange(60) % 3, classes=["a", "b", "c"])
    ids = np.array([4, 17, 0, 9, 0, 2])
    found = dk.explain_example(model, ids, data=data, answer="b")

    def confidence(tokens):
        scores = EMBEDDING[tokens].sum(axis=0)
        return np.exp(scores[1]) / np.exp(scores).sum()

    hidden = [np.where(np.arange(6) == i, 0, ids) for i in range(6)]
    assert found.parts[0].kind == "tokens"
    assert found.values["ids"] == pytest.approx([confidence(ids) - confidence(h) for h in hidden], abs=1e-5)
    assert found.values["ids"][[2, 4]].tolist() == [0, 0]
    assert (found.answer, found.index, found.stability) == ("b", (1,), None)
    shared = dk.explain_example(model, ids, data=data, answer=1, method="kernel_shap")
    none = confidence(np.zeros(6, int))
    assert shared.base == pytest.approx(none, abs=1e-5)
    assert shared.values["ids"].sum() == pytest.approx(confidence(ids) - none, abs=1e-5)


def test_words_of_a_text_are_taken_out(tmp_path):
    nodes = [
        ("StringSplit", ["text"], ["words", "count"], {"delimiter": " "}),
        ("TfIdfVectorizer", ["words"], ["counts"], {
            "max_gram_length": 1, "min_gram_length": 1, "max_skip_count": 0, "mode": "TF", "ngram_counts": [0],
            "ngram_indexes": list(range(4)), "pool_strings": list(WORDS),
        }),
        ("MatMul", ["counts", "w"], ["value"]),
    ]  # fmt: skip
    weights = np.array(list(WORDS.values()), np.float32).reshape(-1, 1)
    model = graph(tmp_path, "text", nodes, ("text", STRING, []), ("value", [1]), {"w": weights})
    texts = np.array(["a good film", "a bad film", "not bad"] * 20, object)
    data = dk.Dataset.from_arrays(texts, np.arange(60) / 60)
    found = dk.explain_example(model, "not a good film", data=data)
    assert (found.parts[0].kind, found.parts[0].names) == ("text", ("not", "a", "good", "film"))
    assert found.values["text"] == pytest.approx([-1.0, 0.0, 2.0, 0.5])


@pytest.fixture(scope="module")
def built(image):
    model, data = image
    return dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")


def test_a_candidate_is_seen_through_the_masks_of_the_original(image, built):
    model, data = image
    both = dk.explain_example(built, 5, against="original", patch=5)
    alone = dk.explain_example(model, 5, data=data, patch=5)
    assert both.against.values["image"] == pytest.approx(alone.values["image"])
    assert both.floor == both.against.stability == alone.stability < 1
    ours, theirs = both.values["image"], alone.values["image"]
    assert not np.array_equal(ours, theirs)
    assert both.correlation == pytest.approx(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1])
    assert "noise floor" in both.summary()
    assert "no difference is seen" in both.summary()
    other = dk.explain_example(model, 5, data=data, patch=5, seed=7)
    assert not np.array_equal(other.values["image"], theirs)


def test_an_artifact_explains_itself_by_what_was_recorded(table, tmp_path, monkeypatch):
    model, data = table
    built = dk.build(model, dk.Recipe(), data)
    artifact = dk.export(built, tmp_path / "served", name="sums")
    with artifact.opened() as files:
        golden = files.golden()[0]["columns"]
    for subject in (artifact, tmp_path / "served", str(tmp_path / "served")):
        found = dk.explain_example(subject, data.sample(1))
        truth = COLUMNS[:, 0] * (data.sample(1)[0] - golden.mean(axis=0))
        assert found.values["columns"] == pytest.approx(truth, abs=1e-4)
        assert "sums" in found.summary()
    monkeypatch.setenv("KEY_OF_SUMS", base64.b64encode(bytes(range(32))).decode())
    locked = dk.export(built, tmp_path / "locked", name="sums", encrypt="env:KEY_OF_SUMS")
    assert dk.explain_example(locked, data.sample(1)).values["columns"] == pytest.approx(found.values["columns"])
    with pytest.raises(ExportError, match="encrypted"):
        dk.explain_example(tmp_path / "locked", data.sample(1))
    with pytest.raises(SettingError, match="by its number needs data"):
        dk.explain_example(artifact, 0)
    model_file = artifact.model_path
    model_file.write_bytes(model_file.read_bytes() + b"\0")
    with pytest.raises(ExportError, match="is not what was exported"):
        dk.explain_example(artifact, data.sample(1))


@pytest.mark.long(seconds=3)
def test_rows_and_pictures(image, table, built):
    both = dk.explain_example(built, 5, against="original")
    rows = both.records()
    assert len(rows) == 144
    assert rows[13]["place"] == [1, 1]
    assert rows[13]["against"] == both.against.values["image"][1, 1]
    assert [row["title"] for row in drawing.panels(both, 0)] == ["the example", both.against.model, both.model]
    assert [row["image"].shape for row in drawing.panels(both, 0)] == [(12, 12), (12, 12, 3), (12, 12, 3)]
    peaks = both.strongest(5)
    assert [abs(p["value"]) for p in peaks] == sorted((abs(p["value"]) for p in peaks), reverse=True)
    spec = both.chart(dark=True).to_dict()
    assert both.summary() in spec["description"]
    shown = both._repr_mimebundle_()
    assert "<details>" in shown["text/html"]
    assert "http" not in shown["text/html"].replace("http://www.w3.org", "")
    assert json.loads(json.dumps(both.to_json()))["correlation"] == both.correlation
    model, data = table
    columns = dk.explain_example(model, 0, data=data)
    bars = drawing.bars(columns, 0)
    assert sum(bar["value"] for bar in bars) == pytest.approx(columns.score - columns.base, abs=1e-4)
    assert len(columns.to_frame()) == 14
    columns.chart().to_dict()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "lime"}, "'lime'"),
        ({"method": "kernel_shap"}, "KernelSHAP is for columns"),
        ({"patch": 0}, "patch must be a whole number from 1"),
        ({"answer": "cat"}, "'cat'"),
        ({"answer": 4}, "There is no answer 4"),
        ({"x": 10_000}, "There is no example 10000"),
        ({"x": 0, "split": "training"}, "'training'"),
        ({"data": None}, "A model alone does not say"),
        ({"against": "original"}, "applies to a candidate"),
    ],
)
def test_what_does_not_fit_is_one_clear_error(image, changes, words):
    model, data = image
    settings = {"data": data, **changes}
    with pytest.raises(SettingError, match=words) as caught:
        dk.explain_example(model, settings.pop("x", 0), **settings)
    assert caught.value.remedy or "must be" in words


def test_examples_that_do_not_fit_are_refused(image, table, built):
    model, data = image
    with pytest.raises(DatasetError, match="expected one example"):
        dk.explain_example(model, data.sample(3), data=data)
    with pytest.raises(SettingError, match="Expected a model, a candidate or an artifact, got dict"):
        dk.explain_example({}, 0)
    with pytest.raises((SettingError, DatasetError)):
        dk.explain_example(built, 0, against=table[0])
