"""Whether answers depend on how far texts are filled up."""

import tempfile

import numpy as np
import onnx
import pytest

import deploykit as dk
from deploykit.core.candidate import Target
from deploykit.core.contract import OutputMeaning
from deploykit.measuring.dependence import depends_on_padding
from deploykit.measuring.judging import Judging
from deploykit.measuring.padding import tokens_of
from deploykit.runtimes._contract import RUNTIMES
from deploykit.testing import bert

TEXTS = [f"the {a} was {b}" for a in ("film", "plot", "story") for b in bert.WORDS[10:22]]


@pytest.mark.parametrize("head", ["tokens", "embedding"])
def test_padding_that_is_masked_changes_nothing_and_other_padding_does(tmp_path, head):
    folder = bert.write_folder(tmp_path / "bert", head)
    data = dk.Dataset.from_text(TEXTS).check(dk.load(folder))
    found = []
    for far in (bert._HIDDEN, 0.0):
        model = onnx.load(folder / "model.onnx")
        mask = next(t for t in model.graph.initializer if t.name == "far")
        mask.CopyFrom(onnx.numpy_helper.from_array(np.float32(far), "far"))
        onnx.save(model, tmp_path / "model.onnx")
        session = RUNTIMES.get("onnxruntime").open(tmp_path / "model.onnx", Target("onnxruntime"), "onnx", data.checked)
        found.append(depends_on_padding(session, data.splits["evaluation"].inputs, data.preprocess))
        session.close()
    assert found == [False, True]


# -- padding says nothing of a model ----------------------------------------------------------------------------------

LONG = [
    f"the {a} was {b}{' film plot' * (i % 4)}"
    for a in ("film", "plot", "story")
    for i, b in enumerate(bert.WORDS[10:22])
]
SPACE = dk.Space((dk.Recipe((dk.Step("quantize_dynamic"),)),), (dk.Target("onnxruntime"),))


def _swept(folder, data, tmp_path, **options):
    return dk.sweep(dk.load(folder), data, SPACE, store=tmp_path / "runs", launches=0, **options)


def _by_definition(metric, after, before, mask):
    """Values of examples, one at a time, of the tokens alone."""
    found = []
    for new, old, real in zip(after.astype(float), before.astype(float), mask.astype(bool), strict=True):
        a, b = new[real], old[real]
        if metric == "cosine_similarity":
            found.append((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))
        elif metric == "output_fidelity":
            found.append(1 - np.abs(a - b).sum() / np.abs(b).sum())
        else:
            found.append((a.argmax(-1) == b.argmax(-1)).mean())
    return np.array(found)


@pytest.mark.parametrize(
    ("head", "metric", "options"),
    [
        ("hidden", "cosine_similarity", {"scores": "embedding", "metric": "cosine_similarity"}),
        ("hidden", "output_fidelity", {"metric": "output_fidelity"}),
        ("tokens", "position_agreement", {"scores": "scores"}),
    ],
)
@pytest.mark.parametrize("masked", [True, False])
def test_what_is_compared_with_the_original_leaves_padding_out(tmp_path, head, metric, options, masked):
    folder = bert.write_folder(tmp_path / "bert", head)
    if not masked:  # only the tokenizer knows what is padding
        _without_mask(folder / "model.onnx")
    data = dk.Dataset.from_text(LONG)
    report = _swept(folder, data, tmp_path, **options)
    assert report.metric == metric
    (row,) = [r for r in report.rows if r.candidate.recipe.steps]
    after, before = (report.choice_for(key).scores() for key in (row.key, report.baseline))
    encoded = report.data.batch("evaluation")
    mask = encoded["input_ids"] != 0
    assert ("attention_mask" in encoded) == masked
    assert 0.3 < mask.mean() < 0.9
    wanted = _by_definition(metric, after, before, mask)
    every = _by_definition(metric, after, before, np.ones_like(mask))
    score = row.measurement.scored(metric)
    assert score.value == pytest.approx(wanted.mean(), abs=1e-9)
    assert abs(every.mean() - wanted.mean()) > 1e-6  # padding did count
    if metric == "position_agreement":
        flips = report.choice_for(row.key).flips()
        lost = {f.example: f.lost for f in flips.rows}
        assert lost == {i: pytest.approx(1 - v) for i, v in enumerate(wanted) if v < 1}


def _without_mask(path):
    """The attention mask becomes a constant: every position counts as a token."""
    model = onnx.load(path)
    graph = model.graph
    kept = [v for v in graph.input if v.name != "attention_mask"]
    del graph.input[:]
    graph.input.extend(kept)
    shape = onnx.helper.make_node("Shape", ["input_ids"], ["mask.shape"])
    one = onnx.helper.make_tensor("value", onnx.TensorProto.INT64, [1], [1])
    filled = onnx.helper.make_node("ConstantOfShape", ["mask.shape"], ["attention_mask"], value=one)
    nodes = [shape, filled, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, path)


def test_outputs_that_are_not_scored_are_judged_without_padding():
    rng = np.random.default_rng(0)
    mask = np.arange(12) < rng.integers(3, 12, (20, 1))
    before = rng.normal(0, 1, (20, 12, 4)).astype(np.float32)
    after = before + rng.normal(0, 0.1, before.shape).astype(np.float32)
    after[~mask] += 100
    before[~mask] = 7
    for kind in ("values", "scores"):
        meaning = OutputMeaning("y", kind, "judged", "float32", (None, None, 4), class_axis=2)
        judging = _judging(meaning, before)
        order = rng.permutation(20)
        for places in (order[:9], order[9:]):
            here = mask[places]
            judging.add({"y": after[places]}, places, lambda width, here=here: here if width == 12 else None)
        found = judging.result()["y"]
        a, b = after[mask].astype(float), before[mask].astype(float)
        spread = np.abs(b - b.mean(axis=0)).mean(axis=0)
        assert found.error == pytest.approx((np.abs(a - b).mean(axis=0) / spread).max(), rel=1e-5)
        if kind == "scores":
            assert found.agreement == pytest.approx((a.argmax(-1) == b.argmax(-1)).mean())


def _judging(meaning, before):
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        np.save(file.name, before)
        return Judging((meaning,), {"y": file.name})


def test_only_a_mask_or_a_tokenizer_says_what_is_padding():
    ids = np.array([[5, 6, 0], [7, 0, 0]])
    mask = np.array([[1, 1, 0], [1, 0, 0]])
    assert tokens_of({"input_ids": ids}, {}, 3) is None
    np.testing.assert_array_equal(tokens_of({"ids": ids, "attention_mask": mask}, {}, 3), mask.astype(bool))
    np.testing.assert_array_equal(tokens_of({"serving_default_input_mask:0": mask}, {}, 3), mask.astype(bool))
    assert tokens_of({"attention_mask": mask}, {}, 4) is None  # another number of positions
    assert tokens_of({"bool_masked_pos": mask}, {}, 3) is None  # which patches are hidden
    assert tokens_of({"attention_mask": mask * 5}, {}, 3) is None
