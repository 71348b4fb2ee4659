"""What inputs, outputs and labels are taken to mean, and what is refused because it could mean two things."""

from dataclasses import replace

import numpy as np
import pytest

from deploykit.core.contract import Contract, Declared, LabelMeaning
from deploykit.core.errors import DatasetError, DeploykitError, SettingError
from deploykit.core.model import Model, TensorSpec
from deploykit.data.dataset import Dataset
from deploykit.data.feeding import Feeding
from deploykit.data.meaning import Seen, settled
from deploykit.measuring.answers import read_as
from deploykit.metrics._contract import METRICS

N = 60
X = np.random.default_rng(0).random((N, 2), dtype=np.float32)
THREE = np.arange(N) % 3
TWO = np.arange(N) % 2


def spec(name, *shape, dtype="float32", operator=""):
    return TensorSpec(name, shape, dtype, operator=operator)


def model(*outputs, inputs=()):
    return Model("/net.onnx", "onnx", tuple(inputs) or (spec("x", None, 2),), outputs, (), 0, 0, "")


def read(labels, *outputs, declared=None, **options):
    return Dataset.from_arrays(X, labels, **options).check(model(*outputs), declared)


def scored(*arguments, **options):
    return read(*arguments, **options).checked.scored


# -- inputs -----------------------------------------------------------------------------------------------------------


def test_a_state_needs_to_be_said_and_the_question_has_both_answers():
    taken = [spec("x", None, 2), TensorSpec("h", (1, None, 4), "float32", batch_axis=1), spec("rate", dtype="int64")]
    net = model(spec("y", None, 3), TensorSpec("hN", (1, None, 4), "float32", batch_axis=1), inputs=taken)
    with pytest.raises(DatasetError) as refused:
        Dataset.from_arrays(X, THREE).check(net)
    assert "Nothing feeds x, h, rate" in refused.value.message
    data = Dataset.from_arrays({"x": X}, THREE)
    with pytest.raises(DatasetError) as refused:
        data.check(net)
    assert "Nothing feeds h, rate" in refused.value.message
    assert "constants={'rate': …}" in refused.value.remedy
    assert "state={'hN': 'h'}" in refused.value.remedy
    found = data.check(net, Declared.of(state={"hN": "h"}, constants={"rate": 16000})).checked
    assert [(i.name, i.how, i.batch_axis) for i in found.inputs] == [
        ("x", "name", 0), ("h", "state", 1), ("rate", "constant", 0)
    ]  # fmt: skip
    assert [(o.name, o.role) for o in found.outputs] == [("y", "scored"), ("hN", "state")]
    assert not found.sequences


def test_one_axis_more_than_the_model_takes_are_the_steps_of_a_stateful_model():
    taken = [spec("x", None, 2), spec("h", None, 4)]
    net = model(spec("y", None, 3), spec("hN", None, 4), inputs=taken)
    steps = np.zeros((N, 5, 2), np.float32)
    labels = np.tile(THREE[:, None], (1, 5))
    found = Dataset.from_arrays({"x": steps}, labels).check(net, Declared.of(state={"hN": "h"})).checked
    assert found.sequences
    assert found.labels.kind == "positions"
    with pytest.raises(DatasetError, match=r"'x': the model takes examples of shape \(2,\), the data give \(5, 2\)"):
        Dataset.from_arrays({"x": steps, "h": np.zeros((N, 4))}, THREE).check(net)


def test_steps_that_come_before_the_batch_are_told_by_the_outputs():
    x = np.zeros((N, 5, 2), np.float32)
    first = model(spec("y", None, 3), inputs=[spec("x", 5, None, 2)])
    assert Dataset.from_arrays(x, THREE).check(first).checked.inputs[0].batch_axis == 1
    fixed = model(spec("y", 5, 3), inputs=[spec("x", 5, None, 2)])
    assert Dataset.from_arrays(x, THREE).check(fixed).checked.inputs[0].batch_axis == 0


def test_whole_numbers_feed_a_bool_input_when_they_are_0_and_1():
    net = model(spec("y", None, 3), inputs=[spec("x", None, 2, dtype="bool")])
    bits = np.stack([TWO, 1 - TWO], axis=1)
    data = Dataset.from_arrays(bits, THREE).check(net)
    fed = Feeding.of(data.checked, net.inputs).arrange(data.batch("evaluation"))[0]
    assert fed.dtype == bool
    np.testing.assert_array_equal(fed, data.batch("evaluation")["x"] == 1)
    with pytest.raises(DatasetError, match="takes bool, the data range from 0 to 2"):
        Dataset.from_arrays(2 * bits, THREE).check(net)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "z"}, r"output 'z'"),
        ({"constants": {"z": 1}}, r"input in constants 'z'"),
        ({"state": {"z": "x"}}, r"output in state 'z'"),
        ({"state": {"y": "z"}}, r"input in state 'z'"),
    ],
)
def test_what_is_said_names_what_the_model_has(options, message):
    with pytest.raises(DeploykitError, match=message):
        read(THREE, spec("y", None, 3), declared=Declared.of(**options))


def test_an_unknown_kind_of_scores_and_states_that_are_no_names():
    with pytest.raises(DeploykitError, match="kind of scores 'logits'"):
        Declared.of(scores="logits")
    with pytest.raises(SettingError, match="state must be a dictionary by name, got 3"):
        Declared.of(state=3)


# -- labels and outputs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "output", "kind", "labelled"),
    [
        (THREE, spec("y", None, 3, operator="Softmax"), "probabilities", "classes"),
        (THREE, spec("y", None, 3, operator="LogSoftmax"), "scores", "classes"),
        (THREE, spec("y", None, 3), "scores", "classes"),
        (THREE.astype(float), spec("y", None, 3), "scores", "classes"),
        (THREE.astype(str), spec("y", None, 3), "scores", "classes"),
        (THREE[:, None], spec("y", None, 3), "scores", "classes"),
        (np.eye(3)[THREE], spec("y", None, 3, operator="Softmax"), "probabilities", "classes"),
        (TWO, spec("y", None, 1, operator="Sigmoid"), "probability", "classes"),
        (TWO, spec("y", None, 1), "logit", "classes"),
        (TWO.astype(float), spec("y", None), "logit", "classes"),
        (2 * TWO - 1, spec("y", None, 1), "logit", "classes"),
        (2.0 * TWO - 1, spec("y", None), "logit", "classes"),
        ((2 * TWO - 1).astype(str), spec("y", None, 1), "logit", "classes"),
        (2 * TWO - 1, spec("y", None, dtype="int64"), "classes", "classes"),
        (THREE - 1, spec("y", None, 1), "values", "values"),
        (X[:, 0], spec("y", None, None), "values", "values"),
        (np.zeros((N, 4, 4), int) + TWO[:, None, None], spec("y", None, 1, 4, 4), "logit", "positions"),
        (np.zeros((N, 1, 4, 4)) + TWO[:, None, None, None], spec("y", None, 1, 4, 4), "logit", "positions"),
        (np.zeros((N, 4, 4), int) + 255 * TWO[:, None, None], spec("y", None, 4, 4, 1), "logit", "positions"),
        (
            np.zeros((N, 4, 4), int) + THREE[:, None, None],
            spec("y", None, 1, 4, 4, dtype="int64"),
            "classes",
            "positions",
        ),
        (THREE, spec("y", None, dtype="int64"), "classes", "classes"),
        (THREE, spec("y", None, 3, dtype="uint8"), "scores", "classes"),
        (np.eye(3)[THREE] + np.eye(3)[(THREE + 1) % 3], spec("y", None, 3), "several", "several"),
        (np.tile(THREE[:, None], (1, 5)), spec("y", None, 5, 3), "scores", "positions"),
        (np.zeros((N, 4, 4), int) + THREE[:, None, None], spec("y", None, 3, 4, 4), "scores", "positions"),
        (X[:, 0], spec("y", None, 1), "values", "values"),
        (X, spec("y", None, 2), "values", "values"),
        (None, spec("y", None, 3, operator="Softmax"), "probabilities", "none"),
        (None, spec("embedding", None, 3), "embedding", "none"),
    ],
)
def test_labels_and_outputs_are_read_for_each_other(labels, output, kind, labelled):
    found = read(labels, output).checked
    assert (found.scored.kind, found.labels.kind) == (kind, labelled)


def test_the_classes_of_channels_first_outputs_are_on_axis_1():
    masks = np.zeros((N, 4, 4), int) + THREE[:, None, None]
    assert scored(masks, spec("y", None, 3, 4, 4)).class_axis == 1
    assert scored(masks, spec("y", None, 4, 4, 3)).class_axis == -1


@pytest.mark.parametrize(
    ("labels", "output", "message"),
    [
        (THREE + 1, spec("y", None, 3), r"from class 1 to 3, it has classes 0 to 2; they look as if they count from 1"),
        (THREE - 1, spec("y", None, 3), "the labels hold the negative class -1"),
        (X[:, 0], spec("y", None, 3), "the labels are one real number per example"),
        (THREE, spec("y", None, 4, 3), "the labels are one number per example"),
        (np.zeros((N, 4, 4), int), spec("y", None, 3, 5, 5), r"it returns 3 × 5 × 5 per example, the labels are 4 × 4"),
    ],
)
def test_labels_that_fit_no_output_are_refused_and_never_ignored(labels, output, message):
    with pytest.raises(DatasetError, match=message):
        read(labels, output)


def test_the_first_output_is_scored_where_the_labels_fit_it():
    outputs = spec("b", None, 3), spec("a", None, 3)
    assert scored(THREE, *outputs).name == "b"
    assert scored(THREE, *outputs, declared=Declared.of(output="a")).name == "a"
    assert scored(None, *outputs).name == "b"


def test_the_only_output_that_labels_fit_is_scored_and_it_is_said():
    found = read(THREE, spec("boxes", None, 7, 4), spec("class", None, 3)).checked
    assert found.scored.name == "class"
    assert "'class' is scored, the only one the labels fit" in found.notes[0]


def test_labels_that_fit_several_later_outputs_are_a_question():
    with pytest.raises(DatasetError, match="several others: a, b") as refused:
        read(THREE, spec("boxes", None, 7, 4), spec("a", None, 3), spec("b", None, 3))
    assert "output='a'" in refused.value.remedy


def test_gaps_and_classes_the_model_lacks_are_named():
    gaps = Dataset.from_arrays(X, np.where(THREE == 1, 3, THREE)).check(model(spec("y", None, 5)))
    assert gaps.checked.labels.notes == ("no example is labeled class 1, 4, although the classes are 0 to 4.",)
    shifted = Dataset.from_arrays(X, THREE + 1).check(model(spec("y", None, 4)))
    assert "no example is labeled class 0: if the labels count from 1" in shifted.checked.labels.notes[0]


def test_one_hot_masks_have_their_classes_first_or_last_and_rows_without_a_class_are_padding():
    classes = np.tile(THREE[:, None, None], (1, 4, 5))
    hot = np.eye(3, dtype=np.float32)[classes]
    for labels, shape, axis in [
        (hot, (4, 5, 3), -1),
        (hot.transpose(0, 3, 1, 2), (3, 4, 5), 1),
        (classes[:, None], (3, 4, 5), 1),
    ]:
        data = read(labels, spec("y", None, *shape))
        assert (data.checked.scored.kind, data.checked.scored.class_axis) == ("scores", axis)
        assert data.checked.labels.kind == "positions"
        assert data.labels().shape[1:] == (4, 5)
        assert (data.labels() == data.labels()[:, :1, :1]).all()
    hot[:, 3] = 0
    data = read(hot, spec("y", None, 4, 5, 3, operator="Softmax"))
    assert "positions whose label is not a class (25 %) are skipped" in data.checked.labels.notes[0]
    assert (data.labels()[:, 3] == -1).all()


@pytest.mark.parametrize("mark", [-1, -100, 255])
def test_positions_that_are_marked_as_padding_are_left_out_and_it_is_said(mark):
    labels = np.tile(THREE[:, None], (1, 5))
    labels[:, 4] = mark
    data = read(labels, spec("y", None, 5, 3))
    assert f"positions whose label is {mark} (20 %) are skipped" in data.checked.labels.notes[0]
    assert data.checked.labels.classes == 3
    assert (data.labels()[:, 4] == -1).all()
    right = np.eye(3)[np.maximum(data.labels(), 0)]
    assert METRICS.get("position_accuracy").values(right, data.labels()).tolist() == [1.0] * len(right)
    right[:, 0] = np.roll(right[:, 0], 1, axis=-1)
    assert METRICS.get("position_accuracy").values(right, data.labels()).tolist() == [0.75] * len(right)


def test_black_and_white_masks_are_two_classes_and_no_padding():
    masks = np.zeros((N, 4, 4), int) + 255 * TWO[:, None, None]
    for shape in [(1, 4, 4), (2, 4, 4), (4, 4, 2)]:
        data = read(masks, spec("y", None, *shape))
        assert (data.checked.labels.classes, data.checked.labels.how) == (2, "0 and 255")
        assert not data.checked.labels.notes
        assert set(np.unique(data.labels())) == {0, 1}
    with pytest.raises(DatasetError, match="from class 0 to 255"):
        read(masks, spec("y", None, 3, 4, 4))


def test_class_numbers_below_zero_are_those_of_the_model():
    data = read(2 * TWO - 1, spec("y", None, dtype="int64"))
    assert data.checked.labels.named == ("-1", "1")
    answered = read_as(np.array([-1, 1, 0]), data.checked)
    assert answered.tolist() == [0, 1, -1]  # 0 is not a class of the labels


def test_a_number_for_a_whole_batch_is_not_judged():
    found = read(THREE, spec("y", None, 3), spec("mean")).checked
    assert not found.judged
    assert "'mean' is one number per batch" in found.notes[0]


# -- what is seen ----------------------------------------------------------------------------------------------------


def seen(low, high, shape=(1,), **more):
    return Seen(shape, "float32", low, high, **more)


@pytest.mark.parametrize(("low", "high", "kind"), [(-3.0, 5.0, "logit"), (0.0, 1.0, "probability")])
def test_one_number_for_two_classes_is_told_by_its_range(low, high, kind):
    found = read(TWO, spec("y", None, 1)).checked
    after = settled(found, {"y": seen(low, high)}, Declared(), labelled=True)
    assert after.scored.kind == kind
    assert after.observed


def test_columns_and_the_axis_of_classes_that_the_file_leaves_open_are_those_seen():
    def kind(labels, output, shape, **more):
        data = read(labels, output)
        rest = data.labels().shape[1:]
        after = settled(data.checked, {"y": seen(-9, 9, shape)}, Declared(), labelled=True, positions=rest)
        return after.scored.kind, after.labels.kind, after.scored.class_axis

    assert kind(TWO, spec("y", None, None), (1,)) == ("logit", "classes", -1)
    assert kind(TWO, TensorSpec("y", None, "float32"), ()) == ("logit", "classes", -1)
    assert kind(TWO, TensorSpec("y", None, "float32"), (2,)) == ("scores", "classes", -1)
    assert kind(THREE * 7, spec("y", None, None), (1,)) == ("values", "values", -1)
    masks = np.zeros((N, 4, 5), int) + THREE[:, None, None]
    assert kind(masks, spec("y", None, None, None, None), (3, 4, 5)) == ("scores", "positions", 1)
    assert kind(masks, spec("y", None, None, None, None), (4, 5, 3)) == ("scores", "positions", -1)


def test_what_the_user_says_stands():
    said = Declared.of(scores="logit")
    found = read(TWO, spec("y", None, 1), declared=said).checked
    assert settled(found, {"y": seen(0, 1)}, said, labelled=True).scored.kind == "logit"


def test_an_output_without_labels_is_taken_for_what_its_numbers_are():
    def kind(low, high, **more):
        found = read(None, spec("y", None, 3)).checked
        after = settled(found, {"y": seen(low, high, (3,), **more)}, Declared(), labelled=False)
        return after.scored.kind, len(after.notes)

    assert kind(0, 1, sums=(0,)) == ("probabilities", 0)
    assert kind(-1, 1, unit=True) == ("embedding", 0)
    assert kind(-9, 9) == ("scores", 1)  # nothing says so: noted


def test_a_contract_is_plain_data_and_in_words():
    found = read(THREE, spec("y", None, 3, operator="Softmax"), spec("z", None, 4)).checked
    assert Contract.from_json(found.to_json()) == found
    assert [heading for heading, _ in found.lines] == ["input", "output", "output", "labels"]
    assert "x: float32 (? × 2) from array 'input', the only one" in str(found)
    assert "y: float32 (? × 3), scored as probabilities of classes (by its operator, Softmax)" in str(found)
    assert "z: float32 (? × 4), compared with the original's" in str(found)
    assert str(LabelMeaning()) == "none: candidates are compared with the original's answers"


def test_what_is_read_otherwise_is_another_reading_and_what_is_fed_otherwise_another_feeding():
    found = read(THREE, spec("y", None, 3), spec("z", None, 3)).checked
    other = read(THREE, spec("y", None, 3), spec("z", None, 3), declared=Declared.of(output="z")).checked
    assert found.reading != other.reading
    assert found.feeding == other.feeding
    assert replace(found, constants={"x": 1}).feeding != found.feeding


def test_one_number_for_a_whole_batch_is_never_scored():
    found = read(THREE, spec("mean"), spec("y", None, 3)).checked
    assert found.scored.name == "y"
    assert read(None, spec("mean"), spec("y", None, 3)).checked.scored.name == "y"
    with pytest.raises(DatasetError, match="'mean' is one number per batch"):
        read(THREE, spec("mean"), spec("y", None, 3), declared=Declared.of(output="mean"))


# -- what could be meant otherwise ------------------------------------------------------------------------------------


def test_shares_of_classes_are_classes_unless_values_are_said():
    smoothed = np.eye(3)[THREE] * 0.9 + 0.1 / 3
    for net in (spec("y", None, 3, operator="Softmax"), spec("y", None, 3)):
        data = read(smoothed, net)
        places = [int((row == X).all(axis=1).argmax()) for row in data.splits["evaluation"].inputs["x"]]
        assert data.labels().tolist() == THREE[places].tolist()
        assert data.checked.labels.how == "shares of classes"
        assert any("largest share" in note for note in data.checked.labels.notes)
    assert read(smoothed, spec("y", None, 3), declared=Declared.of(scores="values")).checked.labels.kind == "values"
    assert read(smoothed * 2, spec("y", None, 3)).checked.labels.kind == "values"  # they do not sum to 1


def test_signs_for_two_columns_are_refused_with_what_makes_classes_of_them():
    with pytest.raises(DatasetError, match=r"\(y \+ 1\) // 2"):
        read(2 * TWO - 1, spec("y", None, 2))


def test_whole_numbers_stored_as_real_ones_feed_inputs_that_take_whole_ones():
    tokens = np.arange(2.0 * N, dtype=np.float32).reshape(N, 2)
    net = model(spec("y", None, 3), inputs=[spec("ids", None, 2, dtype="int64")])
    data = Dataset.from_arrays(tokens, THREE).check(net)
    assert {split.inputs["ids"].dtype.name for split in data.splits.values()} == {"int64"}
    assert any("stored as real" in note for note in data.checked.notes)
    for wrong in (tokens + 0.5, tokens + 1e19):
        with pytest.raises(DatasetError) as refused:
            Dataset.from_arrays(wrong, THREE).check(net)
        assert refused.value.remedy


def test_whole_numbers_that_the_input_rounds_are_named():
    large = 2**24 + np.arange(2 * N).reshape(N, 2)
    notes = Dataset.from_arrays(large, THREE).check(model(spec("y", None, 3))).checked.notes
    assert any("16,777,216" in note and "rounded" in note for note in notes)
    assert not Dataset.from_arrays(large - 1000, THREE).check(model(spec("y", None, 3))).checked.notes


def test_more_columns_than_the_model_takes_are_counted():
    with pytest.raises(DatasetError) as refused:
        Dataset.from_arrays(np.ones((N, 4)), THREE).check(model(spec("y", None, 3)))
    assert "leave out the 2 columns" in refused.value.remedy


# -- texts ------------------------------------------------------------------------------------------------------------

LETTERS = ["<pad>", "|", "a", "b", "c"]
SPOKEN = ["ab", "cab a", "b"] * 20


def test_texts_are_spelled_with_the_vocabulary_of_scores_at_each_step():
    data = read(SPOKEN, spec("y", None, None, 5), classes=LETTERS)
    found = data.checked
    assert (found.labels.kind, found.scored.kind, found.labels.named) == ("text", "text", tuple(LETTERS))
    assert "the likeliest of 5 tokens at each step, repeated ones once, '<pad>' as the blank" in str(found)
    assert data.labels().tolist()[0] in SPOKEN
    steps = np.array([[4, 4, 0, 2, 2, 3, 1, 1, 2, 0]])  # c c _ a a b | | a _
    assert read_as(np.eye(5)[steps], found).tolist() == ["cab a"]
    numbers = read(SPOKEN, spec("y", None, None, dtype="int64"), classes=LETTERS).checked
    assert read_as(np.array([[2, 2, 3, -1]]), numbers).tolist() == ["aab"]


def test_sentences_of_a_model_that_returns_text_are_no_class_names():
    sentences = [f"number {i} of all" for i in range(N)]
    found = read(sentences, spec("y", None, 1, dtype="string"))
    assert (found.checked.labels.kind, found.classes) == ("text", ())
    assert "hardly repeat: they are read as texts" in str(found.checked)
    assert found.labels().tolist()[0] in sentences
    assert read_as(np.array([[b"one"], [b"two"]]), found.checked).tolist() == ["one", "two"]
    said = Declared.of(scores="classes")
    assert read(sentences, spec("y", None, 1, dtype="string"), declared=said).checked.labels.kind == "classes"
    few = Declared.of(scores="text")
    assert read(SPOKEN, spec("y", None, dtype="string"), declared=few).labels().tolist()[0] in SPOKEN
    assert read(SPOKEN, spec("y", None, dtype="string")).checked.labels.kind == "classes"


def test_what_cannot_be_decoded_is_refused():
    with pytest.raises(DatasetError, match="5 tokens are given as classes, output 'y' has 7 scores at each step"):
        read(SPOKEN, spec("y", None, None, 7), classes=LETTERS)
    with pytest.raises(DatasetError, match="is not a text, nor scores of a vocabulary at each step"):
        read(SPOKEN, spec("y", None, 5), classes=LETTERS)
    with pytest.raises(DatasetError, match="becomes text only with a vocabulary"):
        read(None, spec("y", None, None, 5), declared=Declared.of(scores="text"))
    with pytest.raises(DatasetError, match="not in classes: ab, cab a, d"):
        read([*SPOKEN[1:], "d"], spec("y", None, None, 5), classes=LETTERS)


def test_an_embedding_is_judged_by_identities_that_are_more_than_it_has_numbers():
    data = read(np.arange(N) // 2, spec("y", None, 4), declared=Declared.of(scores="embedding"))
    assert (data.checked.scored.kind, data.checked.labels.classes) == ("embedding", 30)
