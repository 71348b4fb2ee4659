import shutil
import struct

import numpy as np
import pytest

from deploykit.core.errors import ModelFileError, UnsafeModelError, UnsupportedModelError
from deploykit.core.model import TensorSpec
from deploykit.loading._load import load
from deploykit.loading._saved_model import graph as _saved_model_graph
from deploykit.loading._saved_model.graph import MetaGraph, Node
from deploykit.loading._saved_model.scan import check_operators
from deploykit.readers import checkpoint as _checkpoint
from deploykit.testing import work

INDEX, DATA = "variables/variables.index", "variables/variables.data-00000-of-00001"


def test_an_exported_cnn(zoo):
    path = zoo("cnn_saved_model")
    model = load(path)
    assert model.inputs == (TensorSpec("image", (None, 8, 8, 1), "float32"),)
    assert model.outputs == (TensorSpec("output_0", (None, 3), "float32"),)
    assert (model.format, model.parameter_count, model.warnings) == ("saved_model", 211, ())
    owners = {layer.type: layer.parameters for layer in model.layers if layer.parameters and layer.type != "Mul"}
    assert (owners["Conv2D"], owners["DepthwiseConv2dNative"], owners["MatMul"]) == (72, 72, 24)
    assert sum(layer.parameters for layer in model.layers) == 211
    assert model.size_bytes == sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def test_the_graph_file_alone_is_no_model(zoo, refused):
    refused(zoo("cnn_saved_model") / "saved_model.pb", ModelFileError, "is the whole folder", "cnn_saved_model")


@pytest.mark.parametrize(
    ("kind", "does"),
    [
        ("WriteFile", "writes files"),
        ("ReadFile", "reads files"),
        ("EagerPyFunc", "runs Python"),
        ("PyFunc", "runs Python"),
        ("SaveV2", "writes files"),
    ],
)
def test_operators_that_do_more_than_compute(made, tmp_path, refused, kind, does):
    path, mark = tmp_path / "model", tmp_path / "was-run"
    made("saved_model", kind=kind, path=path, mark=mark)
    refused(path, UnsafeModelError, f"its operator {kind!r}", "in function '__inference_call_", does, "trusted=True")
    assert not mark.exists()
    model = load(path, trusted=True)
    assert model.trusted
    assert [str(spec) for spec in (*model.inputs, *model.outputs)] == ["x: float32 (?, 4)", "y: float32 (?, 3)"]


def test_an_operator_in_a_branch_that_is_never_taken(made, tmp_path, refused):
    path, mark = tmp_path / "model", tmp_path / "was-run"
    made("saved_model", kind="branch", path=path, mark=mark)
    refused(path, UnsafeModelError, "'WriteFile'")
    assert not mark.exists()


def test_summaries_that_nothing_writes_are_harmless(made, tmp_path, refused):
    path, mark = tmp_path / "model", tmp_path / "was-run"
    made("saved_model", kind="summary", path=path)
    assert load(path).outputs[0].shape == (None, 3)
    found = work.predicted(path, "saved_model", {"x": np.ones((2, 4), np.float32)})
    np.testing.assert_array_equal(found["y"], np.full((2, 3), 4.0))
    made("saved_model", kind="summary to a file", path=tmp_path / "writer", mark=mark)
    refused(tmp_path / "writer", UnsafeModelError, "'CreateSummaryFileWriter'", "writes files")
    assert not mark.exists()


def test_a_folder_without_its_variables(copy, refused):
    path = copy("cnn_saved_model")
    shutil.rmtree(path / "variables")
    refused(path, ModelFileError, "variables (", "variables/variables.index is missing", "copy the whole folder")


def node(name, op, *inputs, calls=""):
    attributes = (
        {"f": b"\x52" + bytes([len(calls) + 2]) + b"\x0a" + bytes([len(calls)]) + calls.encode()} if calls else {}
    )
    return Node(name, op, inputs, {k: memoryview(v) for k, v in attributes.items()})


def graph(*nodes, functions=(), signature="", saver=(), starters=()):
    tensors = (_saved_model_graph.TensorInfo("y", signature, "float32", None),)
    return MetaGraph(
        nodes={n.name: n for n in nodes},
        functions={name: _saved_model_graph.Function(name, (), tuple(body)) for name, body in functions},
        signatures={"serving_default": _saved_model_graph.Signature((), tensors)},
        saver=saver,
        starters=starters,
    )


def test_only_the_saver_may_save():
    call = node("call", "PartitionedCall", calls="__inference_f")
    save = node("save", "StatefulPartitionedCall", calls="__traced_save")
    functions = [("__inference_f", [node("y", "Relu")]), ("__traced_save", [node("s", "SaveV2")])]
    check_operators(graph(call, save, functions=functions, signature="call:0", saver=("save",)), "m")
    check_operators(graph(node("s", "SaveV2"), call, functions=functions[:1], signature="call:0", saver=("s",)), "m")
    hostile = [
        graph(call, save, functions=functions, signature="save:0", saver=("save",)),  # a signature that saves
        graph(call, save, functions=functions, signature="call:0"),  # not the saver's
        graph(call, save, functions=functions, signature="call:0", saver=("save",), starters=("save",)),
        graph(node("call", "Relu", "^save"), save, functions=functions, signature="call:0", saver=("save",)),
        graph(node("call", "PartitionedCall", calls="__traced_save"), save, functions=functions, saver=("save",)),
        graph(call, functions=functions, signature="call:0"),  # called from nowhere that is known
    ]
    for number, meta in enumerate(hostile):
        with pytest.raises(UnsafeModelError, match="'SaveV2'"):
            check_operators(meta, f"m{number}")


def test_the_saver_may_do_nothing_else():
    save = node("save", "StatefulPartitionedCall", calls="__traced_save")
    functions = [("__traced_save", [node("s", "SaveV2"), node("w", "WriteFile")])]
    with pytest.raises(UnsafeModelError, match=r"'WriteFile' \(node 'w' in function '__traced_save'\) writes files"):
        check_operators(graph(save, functions=functions, saver=("save",)), "m")


def test_a_function_cannot_lend_its_name_to_an_operator():
    functions = [("ReadFile", [node("y", "Relu")]), ("__inference_f", [node("y", "Relu")])]
    check_operators(graph(node("a", "__inference_f"), functions=functions), "m")
    with pytest.raises(UnsafeModelError, match="'ReadFile'"):
        check_operators(graph(node("a", "ReadFile"), functions=functions), "m")


def test_what_is_not_known_is_refused():
    with pytest.raises(UnsafeModelError, match=r"'NewInTensorFlow3' .* is not known to be harmless"):
        check_operators(graph(node("a", "NewInTensorFlow3")), "m")


def test_signatures(made, tmp_path, refused):
    made("saved_model", kind="two", path=tmp_path / "two")
    model = load(tmp_path / "two")
    assert model.warnings == ("no signature 'serving_default'; using 'a' out of a, b.",)
    made("saved_model", kind="unsigned", path=tmp_path / "none")
    refused(tmp_path / "none", UnsupportedModelError, "has no signature", "model.export(path)")


@pytest.mark.parametrize("keep", [0.999, 0.5, 0.01])
def test_a_truncated_graph(copy, refused, keep):
    path = copy("cnn_saved_model") / "saved_model.pb"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    refused(path.parent, ModelFileError, "saved_model.pb: truncated or damaged")


def test_an_empty_graph(copy, refused):
    path = copy("cnn_saved_model")
    (path / "saved_model.pb").write_bytes(b"")
    refused(path, ModelFileError, "saved_model.pb", "empty (0 bytes)")


def test_random_bytes_as_a_graph(copy, refused):
    path = copy("cnn_saved_model")
    (path / "saved_model.pb").write_bytes(np.random.default_rng(0).bytes(4000))
    refused(path, ModelFileError, "saved_model.pb: truncated or damaged")


def test_truncated_and_missing_variables(copy, refused):
    path = copy("cnn_saved_model")
    data, index = (path / DATA).read_bytes(), (path / INDEX).read_bytes()
    (path / DATA).write_bytes(data[:1000])
    refused(path, ModelFileError, "variables.data-00000-of-00001 is truncated: it has 1,000 bytes")
    (path / DATA).unlink()
    refused(path, ModelFileError, "variables.data-00000-of-00001 is missing")
    (path / DATA).write_bytes(data)
    (path / INDEX).write_bytes(index[:-20])
    refused(path, ModelFileError, "variables.index is truncated or damaged")
    (path / INDEX).unlink()
    refused(path, ModelFileError, "variables.index is missing")


def test_flipped_bits_in_the_graph_and_the_index(copy):
    path = copy("cnn_saved_model")
    rng = np.random.default_rng(0)
    refusals = 0
    for name in ("saved_model.pb", INDEX):
        whole = (path / name).read_bytes()
        for _ in range(10):
            data = bytearray(whole)
            for at in rng.integers(0, len(data), 4):
                data[at] ^= 1 << int(rng.integers(8))
            (path / name).write_bytes(bytes(data))
            try:
                load(path)
            except (ModelFileError, UnsupportedModelError):
                refusals += 1
        (path / name).write_bytes(whole)
    assert refusals > 5


@pytest.mark.parametrize(("value", "words"), [(np.nan, "NaN"), (-np.inf, "infinite values")])
def test_weights_that_are_no_numbers_are_named(copy, value, words):
    path = copy("cnn_saved_model")
    entries = _checkpoint.read_entries(path / "variables", "m")
    entry = next(e for e in entries if e.key.startswith("variables/") and e.shape == (8, 3))
    data = bytearray((path / DATA).read_bytes())
    struct.pack_into("<f", data, entry.offset + 8, value)
    (path / DATA).write_bytes(bytes(data))
    (warning,) = load(path).warnings
    assert f"the variable 'class/kernel' holds {words}" in warning


def test_the_checkpoint_is_that_of_tensorflow(made, zoo):
    path = zoo("cnn_saved_model") / "variables"
    told = made("checkpoint", path=path / "variables")
    ours = {e.key: [list(e.shape), e.dtype] for e in _checkpoint.read_entries(path, "m") if e.dtype != "string"}
    assert ours == told


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def table_block(pairs):
    """A block of LevelDB's tables, its keys written out, with one restart."""
    entries = (b"\0" + varint(len(key)) + varint(len(value)) + key + value for key, value in pairs)
    return b"".join(entries) + struct.pack("<II", 0, 1)


def as_snappy(block):
    """Compressed by Snappy: literals of up to 60 bytes, which a compressor may write where nothing repeats."""
    parts = [block[at : at + 60] for at in range(0, len(block), 60)]
    return varint(len(block)) + b"".join(bytes([len(part) - 1 << 2]) + part for part in parts)


def test_a_compressed_index_is_read(copy):
    """TensorFlow wrote such indexes for years: those of TensorFlow Serving's own test models are compressed."""
    path = copy("cnn_saved_model")
    index = path / INDEX
    pairs = [(key, bytes(value)) for key, value in _checkpoint._pairs(memoryview(index.read_bytes()))]
    plain = _checkpoint.read_entries(path / "variables", "m")
    data = as_snappy(table_block(pairs))
    empty = table_block([])
    places, at = [], 0
    for block in (data, empty):
        places.append(varint(at) + varint(len(block)))
        at += len(block) + 5
    last = as_snappy(table_block([(b"\xff", places[0])]))
    footer = (places[1] + varint(at) + varint(len(last))).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    index.write_bytes(data + b"\1" + bytes(4) + empty + bytes(5) + last + b"\1" + bytes(4) + footer)
    assert _checkpoint.read_entries(path / "variables", "m") == plain
    whole = index.read_bytes()
    index.write_bytes(whole.replace(data + b"\1", data + b"\7"))
    with pytest.raises(ModelFileError, match=r"compressed in an unknown way \(7\)"):
        load(path)
