"""Frozen graphs: what is guessed, what can be named, and files that are passed in their place."""

import shutil

import numpy as np
import pytest

from deploykit.core.errors import ModelFileError, SettingError, UnsafeModelError, UnsupportedModelError
from deploykit.loading._contract import FORMATS
from deploykit.loading._load import load
from deploykit.testing import work

X = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture
def graphs(folder, made):
    if not any(folder.iterdir()):
        made("graphs", folder=folder, mark=folder / "was-run")
    return folder


@pytest.fixture
def expected(graphs, made):
    """Answers of TensorFlow 1's session."""

    def run(name, fetches, **feeds):
        found = made(
            "graph_answers", path=graphs / name, fetches=fetches, feeds={k: v.tolist() for k, v in feeds.items()}
        )
        return [np.asarray(value) for value in found["answers"]]

    return run


def answers(model, **feeds):
    return list(work.predicted(model.path, "frozen_pb", feeds).values())


def test_ends_are_guessed_and_said(graphs, expected):
    """Neither the placeholder with a default, nor what is watched or asserted."""
    model = load(graphs / "branches.pb")
    assert [str(spec) for spec in model.inputs] == ["x: float32 (?, 4)"]
    assert [str(spec) for spec in model.outputs] == ["chances: float32 (?, 3)", "size: float32 (?)"]
    assert [spec.operator for spec in model.outputs] == ["Softmax", "Sum"]
    (said,) = model.warnings
    assert "guessed: inputs 'x', outputs 'chances', 'size'" in said
    assert model.parameter_count == 4 * 8 + 4 * 3
    for found, wanted in zip(
        answers(model, x=X), expected("branches.pb", ["chances:0", "size:0"], **{"x:0": X}), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_ends_can_be_named(graphs, expected):
    """Any tensors, in any order: the second half of a split, and an input in the middle."""
    path = graphs / "branches.pb"
    model = load(path, inputs=["hidden"], outputs=["split:1", "chances"])
    assert (model.name, model.origin, model.warnings) == ("branches", str(path), ())
    assert [str(spec) for spec in model.inputs] == ["hidden: float32 (?, 8)"]
    assert [str(spec) for spec in model.outputs] == ["split_1_output: float32 (?, 4)", "chances: float32 (?, 3)"]
    hidden = np.abs(np.random.default_rng(2).normal(size=(5, 8))).astype(np.float32)
    wanted = expected("branches.pb", ["split:1", "chances:0"], **{"hidden:0": hidden})
    for found, value in zip(answers(model, hidden=hidden), wanted, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-6)
    assert [spec.name for spec in load(path, outputs=["hidden"]).inputs] == ["x"]
    assert [spec.name for spec in load(path, inputs=["keep", "x"]).inputs] == ["keep", "x"]


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ({"outputs": ["chance"]}, r"outputs: the graph has no tensor 'chance'.* chances"),
        ({"inputs": ["x:one"]}, "inputs: the graph has no tensor 'x:one'"),
        ({"outputs": ["size:3"]}, "TensorFlow .* cannot use the graph"),
        ({"inputs": ["x", "chances"], "outputs": ["size"]}, "The outputs do not depend on the input 'chances'"),
        ({"inputs": ["keep"], "outputs": ["size"]}, "also need the input 'x'"),
        ({"outputs": ["size", "size:0"]}, "must name each tensor once"),
        ({"outputs": "size"}, r"outputs must be a list of names, got 'size'"),
    ],
)
def test_names_that_do_not_fit(graphs, ends, words):
    with pytest.raises((SettingError, UnsupportedModelError), match=words):
        load(graphs / "branches.pb", **ends)


def test_other_formats_say_themselves(zoo):
    with pytest.raises(SettingError, match=r"ONNX files say what their inputs and outputs are.* Frozen graph"):
        load(zoo("cnn_onnx"), outputs=["probabilities"])


def test_half_precision_constants_are_read(graphs):
    """TensorFlow keeps them as numbers of variable length."""
    (weight,) = FORMATS.get("frozen_pb").weights(graphs / "half.pb")
    assert (weight.layer, weight.stored) == ("MatMul", "float16")
    np.testing.assert_array_equal(weight.load(), np.random.default_rng(5).normal(size=(4, 2)).astype("f2"))


def test_what_is_not_frozen_or_not_harmless(graphs, refused):
    error = refused(graphs / "unfrozen.pb", UnsupportedModelError, "is not frozen: it reads 1 variables", "(w)")
    assert "checkpoint" in error.remedy
    refused(graphs / "writes.pb", UnsafeModelError, "'WriteFile'", "writes files", "trusted=True")
    assert not (graphs / "was-run").exists()
    assert load(graphs / "writes.pb", trusted=True).outputs[0].name == "y"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("checkpoint", "the list of a folder's checkpoints"),
        ("net.ckpt.meta", "a checkpoint's graph (a MetaGraph, .meta)"),
        ("net.ckpt.index", "a checkpoint's index"),
        ("net.ckpt.data-00000-of-00001", "a checkpoint's values"),
        ("graph.pbtxt", "a graph in protobuf's text form"),
    ],
)
def test_parts_of_a_checkpoint_are_named(graphs, refused, tmp_path, name, words):
    refused(graphs / name, ModelFileError, words, "SavedModel")
    if name != "net.ckpt.data-00000-of-00001":  # bytes like any others
        refused(shutil.copy(graphs / name, tmp_path / "model.pb"), ModelFileError, words)


def test_the_graph_of_a_saved_model_is_named(zoo, refused, tmp_path):
    copy = shutil.copy(zoo("cnn_saved_model") / "saved_model.pb", tmp_path / "model.pb")
    refused(copy, ModelFileError, "the graph of a SavedModel", "the whole folder", "saved_model.pb")


def varint(number):
    out = b""
    while number > 0x7F:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def field(number, content):
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def node(name, op, *inputs, **attributes):
    entries = b"".join(field(5, field(1, k.encode()) + field(2, v)) for k, v in attributes.items())
    return field(1, field(1, name) + field(2, op) + b"".join(field(3, i) for i in inputs) + entries)


def constant(name, sizes, content=b"", kind=1):
    shape = b"".join(field(2, field(1, size % 2**64)) for size in sizes)
    tensor = field(1, kind) + field(2, shape) + (field(4, content) if content else b"")
    return node(name, b"Const", dtype=field(6, kind), value=field(8, tensor))


PLACEHOLDER = node(b"x", b"Placeholder", dtype=field(6, 1))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            PLACEHOLDER + constant(b"c", (10**6, 10**6)) + node(b"y", b"Add", b"x", b"c"),
            "claims 4,000,000,000,000 bytes",
        ),
        (PLACEHOLDER + constant(b"c", (2, 2), b"1234"), "claims 16 bytes (2 × 2 float32), and the file holds 4"),
        (PLACEHOLDER + constant(b"c", (-4, 2)), "a dimension below zero"),
        (PLACEHOLDER + node(b"y", b"Add", b"x", b"gone"), "the node 'y' reads 'gone', which is not in the graph"),
        (PLACEHOLDER + PLACEHOLDER, "two parts of the graph are called 'x'"),
        (PLACEHOLDER, "the graph has no outputs: nothing is computed from its 1 placeholders"),
        (PLACEHOLDER + b"\x0a\xff\xff\xff\xff\x0f", "truncated or damaged: field 1 ends after"),
    ],
)
def test_forged_graphs(tmp_path, refused, content, words):
    path = tmp_path / "forged.pb"
    path.write_bytes(content)
    refused(path, ModelFileError, words)


def test_values_that_are_no_numbers_are_flagged(tmp_path):
    path = tmp_path / "nan.pb"
    values = np.array([[1, np.nan], [0, 1]], np.float32).tobytes()
    path.write_bytes(PLACEHOLDER + constant(b"c", (2, 2), values) + node(b"y", b"MatMul", b"x", b"c", T=field(6, 1)))
    assert "the constant 'c' holds NaN: outputs will be wrong; export the model again." in load(path).warnings


def test_the_shape_of_a_classifier_needs_no_tensorflow(tmp_path):
    """A product with weights, and steps that keep its shape; TensorFlow infers the shapes of other graphs."""
    path = tmp_path / "net.pb"
    sizes = field(2, field(1, 2**64 - 1)) + field(2, field(1, 4))
    given = node(b"x", b"Placeholder", dtype=field(6, 1), shape=field(7, sizes))
    weights = constant(b"w", (3, 4), np.ones((3, 4), np.float32).tobytes())
    product = node(b"p", b"MatMul", b"x", b"w", T=field(6, 1), transpose_b=field(5, 1))
    path.write_bytes(given + weights + product + node(b"y", b"Softmax", b"p", T=field(6, 1)))
    found = FORMATS.get("frozen_pb").read(path, trusted=False, imports=())
    assert [str(spec) for spec in found.outputs] == ["y: float32 (?, 3)"]
    path.write_bytes(given + node(b"y", b"Mean", b"x", b"x", T=field(6, 1)))
    assert FORMATS.get("frozen_pb").read(path, trusted=False, imports=()).outputs == ()
