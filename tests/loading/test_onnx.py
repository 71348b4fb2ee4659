import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploykit.core.errors import ModelFileError, UnsupportedModelError
from deploykit.core.model import Layer, TensorSpec
from deploykit.loading._contract import FORMATS
from deploykit.loading._load import load


@pytest.fixture
def refused(refused):
    """Refused alike by the checks of a server, which has no onnx package, but for what only that package knows."""

    def check(path, kind, *found, server=True):
        error = refused(path, kind, *found)
        if server:
            with pytest.raises(kind) as caught:
                FORMATS.get("onnx").parts(path, trusted=False)
            assert str(caught.value) == str(error)
        return error

    return check


def graph(nodes, *, inputs=(("x", ["batch", 4]),), outputs=(("y", ["batch", 4]),), weights=(), **options):
    def values(items):
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in items]

    return helper.make_graph(nodes, "g", values(inputs), values(outputs), list(weights), **options)


def write(path, nodes, *, opset=21, ir=10, **options):
    model = helper.make_model(graph(nodes, **options), ir_version=ir, opset_imports=[helper.make_opsetid("", opset)])
    path.write_bytes(model.SerializeToString())
    return path


def relu(name="relu"):
    return helper.make_node("Relu", ["x"], ["y"], name)


def node(kind, inputs, output, **options):
    return helper.make_node(kind, inputs.split(), [output], kind.lower(), **options)


def add(weight="w"):
    return helper.make_node("Add", ["x", weight], ["y"], "add")


def weight(values, name="w"):
    return numpy_helper.from_array(np.asarray(values, np.float32), name)


def edit(path, change):
    model = onnx.load(path, load_external_data=False)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def test_a_cnn(zoo):
    model = load(zoo("cnn_onnx"))
    assert model.inputs == (TensorSpec("image", (None, 1, 8, 8), "float32"),)
    assert model.outputs == (TensorSpec("probabilities", (None, 3), "float32", operator="Softmax"),)
    assert model.layers == (  # the shapes between are inferred
        Layer("conv", "Conv", (None, 8, 8, 8), 80, "convolution"),
        Layer("relu", "Relu", (None, 8, 8, 8), 0, "activation"),
        Layer("pool", "GlobalAveragePool", (None, 8, 1, 1), 0, "pooling"),
        Layer("flatten", "Flatten", (None, 8), 0, "reshape"),
        Layer("class", "MatMul", (None, 3), 24, "dense"),
        Layer("softmax", "Softmax", (None, 3), 0, "activation"),
    )
    assert (model.format, model.parameter_count, model.warnings) == ("onnx", 104, ())


@pytest.mark.parametrize(
    ("nodes", "kind", "found"),
    [
        ([node("Spin", "x", "y", domain="acme.ops")], UnsupportedModelError, "'Spin' of the domain 'acme.ops'"),
        ([node("Hash", "x", "y", domain="ai.onnx.contrib")], UnsupportedModelError, "'ai.onnx.contrib'"),
        (
            [node("Add", "x b", "a"), node("Relu", "a", "b"), node("Relu", "b", "y")],
            ModelFileError,
            "a cycle: the node",
        ),
        ([node("Add", "x ghost", "y")], ModelFileError, "of the graph 'g' reads 'ghost'"),
        ([node("Relu", "x", "z")], ModelFileError, "Nothing in the graph makes the output 'y'"),
        ([node("Relu", "x", "y"), node("Abs", "x", "y")], ModelFileError, "make the tensor 'y'"),
    ],
)
def test_graphs_that_can_never_run(tmp_path, refused, nodes, kind, found):
    refused(write(tmp_path / "m.onnx", nodes), kind, found)


def test_graphs_that_can_run_in_an_odd_way(tmp_path):
    inner = helper.make_graph(
        [helper.make_node("Add", ["late", "x"], ["inside"])],
        "branch", [], [helper.make_tensor_value_info("inside", TensorProto.FLOAT, ["batch", 4])],
    )  # fmt: skip
    yes = numpy_helper.from_array(np.array(True), "yes")
    nodes = [  # not in order, with a subgraph that reads what the outer graph makes
        helper.make_node("If", ["yes"], ["b"], then_branch=inner, else_branch=inner),
        helper.make_node("Gelu", ["x"], ["late"], domain="com.microsoft"),
        helper.make_node("Own", ["b", ""], ["y"], domain="mine"),
    ]
    path = write(tmp_path / "m.onnx", nodes, weights=[yes])

    def change(model):
        body = [helper.make_node("Relu", ["p"], ["q"])]
        model.functions.append(
            helper.make_function("mine", "Own", ["p", "o"], ["q"], body, [helper.make_opsetid("", 21)])
        )

    assert [layer.type for layer in load(edit(path, change)).layers] == ["If", "com.microsoft.Gelu", "mine.Own"]


def test_an_output_says_what_makes_it_and_a_state_where_its_batch_is(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z"]),
        helper.make_node("Sigmoid", ["z"], ["s"]),
        helper.make_node("Cast", ["s"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Squeeze", ["c"], ["y"]),
        helper.make_node("Identity", ["state"], ["stateN"]),
    ]
    inputs = (("state", [2, "N", 5]), ("x", ["N", 4]), ("mask", ["length", 4]))
    path = write(
        tmp_path / "m.onnx", nodes, inputs=inputs, outputs=(("y", ["N"]), ("stateN", [2, "N", 5])),
        weights=[weight(np.ones((4, 1)))],
    )  # fmt: skip
    model = load(path)
    assert [(s.name, s.operator) for s in model.outputs] == [("y", "Sigmoid"), ("stateN", "")]
    assert [s.batch_axis for s in (*model.inputs, *model.outputs)] == [1, 0, 0, 0, 1]
    assert model.inputs[0].example_shape == (2, 5)
    assert model.inputs[0].batch_size is None


@pytest.mark.parametrize(
    ("taken", "given", "axes"),
    [
        (["time", "batch", 4], ["batch", 3], [1, 0]),  # steps come first, and are in no output
        (["steps", "examples", 4], ["examples", 3], [1, 0]),
        (["N", "time", 4], ["N", "time"], [0, 0]),
        (["N", 4], [None, 3], [0, 0]),
        (["rows", "columns"], [None, 3], [0, 0]),
    ],
)
def test_the_batch_is_found_by_the_names_of_dimensions(tmp_path, taken, given, axes):
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    model = load(write(tmp_path / "m.onnx", nodes, inputs=(("x", taken),), outputs=(("y", given),)))
    assert [s.batch_axis for s in (*model.inputs, *model.outputs)] == axes


def test_external_data_are_part_of_the_model(copy, zoo):
    inside, path = load(zoo("cnn_onnx")), copy("cnn_external_onnx")
    data = path.with_name(f"{path.name}.data")
    model = load(path)
    assert (model.layers, model.parameter_count) == (inside.layers, inside.parameter_count)
    assert model.size_bytes == path.stat().st_size + data.stat().st_size
    before = model.digest
    content = bytearray(data.read_bytes())
    content[5] ^= 1
    data.write_bytes(bytes(content))
    assert load(path).digest != before


def test_external_data_in_a_folder_below(copy):
    path = copy("cnn_external_onnx")
    (path.parent / "data").mkdir()
    path.with_name(f"{path.name}.data").rename(path.parent / "data" / "w.bin")
    assert load(edit(path, lambda model: relocate(model, "data/w.bin"))).parameter_count == 104


def relocate(model, location, **more):
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
            elif entry.key in more:
                entry.value = more[entry.key]


def test_external_data_must_stay_inside_the_folder(copy, refused, tmp_path):
    path = copy("cnn_external_onnx")
    data = path.with_name(f"{path.name}.data")
    secret = tmp_path.parent / f"{tmp_path.name}-secret"
    secret.write_bytes(data.read_bytes())
    (tmp_path / "symbolic").symlink_to(secret)
    os.link(secret, tmp_path / "hard")
    (tmp_path / "away").symlink_to(tmp_path.parent)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "data").mkdir()
    for location, found in [
        (str(secret), "are at an absolute path"),
        ("C:\\secret", "are at an absolute path"),
        (f"../{secret.name}", "leave the model's folder"),
        (f"x\\..\\..\\{secret.name}", "leave the model's folder"),
        ("symbolic", "are behind a symbolic link ('symbolic')"),
        (f"away/{secret.name}", "are behind a symbolic link ('away')"),
        ("hard", "is a hard link: the file has 2 names"),
        ("pipe", "which is not a regular file"),
        ("data", "which is not a regular file"),
        (".", "have no location"),
        ("nowhere.bin", "are missing: there is no file 'nowhere.bin'"),
        ("*/_ORT_MEM_ADDR_/*", "are missing"),
        ("", "have no location"),
    ]:
        edit(path, lambda model, place=location: relocate(model, place))
        refused(path, ModelFileError, "the external data of 'conv_w'", found)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"offset": "-8"}, "have the offset '-8', which is not a size"),
        ({"offset": "9" * 5000}, "which is not a size"),
        ({"offset": str(10**17)}, "which is truncated: it has 416"),
        ({"length": "4"}, "claim to have 4"),
        ({"length": "-1"}, "have the length '-1'"),
        ({"length": "0x10"}, "have the length '0x10'"),
    ],
)
def test_offsets_and_lengths(copy, refused, changes, found):
    path = copy("cnn_external_onnx")
    edit(path, lambda model: relocate(model, f"{path.name}.data", **changes))
    refused(path, ModelFileError, "'conv_w'", found)


def test_a_key_given_twice(copy, refused):
    path = copy("cnn_external_onnx")

    def again(model):
        entry = model.graph.initializer[0].external_data.add()
        entry.key, entry.value = "location", "/etc/passwd"

    refused(edit(path, again), ModelFileError, "name 'location' twice")


def test_truncated_and_missing_data_files(copy, refused):
    path = copy("cnn_external_onnx")
    data = path.with_name(f"{path.name}.data")
    data.write_bytes(data.read_bytes()[:300])
    refused(path, ModelFileError, data.name, "is truncated: it has 300")
    data.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 416\n")
    refused(path, ModelFileError, data.name, "this is a Git LFS pointer")
    data.unlink()
    refused(path, ModelFileError, "copy the data file, which is part of the model, into the model's folder")


def external(name, location="/etc/passwd", dims=(4,)):
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    return tensor


def hide_in_constant(model):
    model.graph.node.append(helper.make_node("Constant", [], ["c"], "c", value=external("hidden")))


def hide_in_branch(model):
    branch = graph([helper.make_node("Identity", ["hidden"], ["y"])], inputs=(), weights=[external("hidden")])
    model.graph.node.append(helper.make_node("If", ["x"], ["z"], "if", then_branch=branch, else_branch=branch))


def hide_in_function(model):
    node = helper.make_node("Constant", [], ["y"], value=external("hidden"))
    model.functions.append(helper.make_function("mine", "F", [], ["y"], [node], [helper.make_opsetid("", 21)]))


def hide_in_training(model):
    model.training_info.add().algorithm.initializer.append(external("hidden"))


def hide_in_list(model):
    node = helper.make_node("Foo", [], ["c"], "c", domain="mine")
    node.attribute.append(helper.make_attribute("many", [weight([1.0]), external("hidden")]))
    model.graph.node.append(node)


@pytest.mark.parametrize("hide", [hide_in_constant, hide_in_branch, hide_in_function, hide_in_training, hide_in_list])
def test_external_data_are_found_wherever_they_hide(tmp_path, refused, hide):
    path = edit(write(tmp_path / "m.onnx", [relu()]), hide)
    refused(path, ModelFileError, "the external data of 'hidden' are at an absolute path")


def test_sparse_tensors_have_no_external_data(tmp_path, refused):
    def hide(model):
        sparse = model.graph.sparse_initializer.add(dims=[4])
        sparse.values.CopyFrom(external("hidden", "w.bin"))
        sparse.indices.CopyFrom(numpy_helper.from_array(np.array([0, 1, 2, 3]), "i"))

    (tmp_path / "w.bin").write_bytes(bytes(16))
    refused(edit(write(tmp_path / "m.onnx", [relu()]), hide), ModelFileError, "the sparse tensor 'hidden'")


@pytest.mark.parametrize("value", ["raw", "list", "external", "half"])
@pytest.mark.parametrize(("number", "words"), [(np.nan, "NaN: outputs will be wrong"), (np.inf, "infinite values")])
def test_weights_that_are_no_numbers_are_named(tmp_path, value, number, words):
    values = np.array([1, number, 3, 4], np.float32)
    tensor = weight(values)
    if value == "list":
        tensor = helper.make_tensor("w", TensorProto.FLOAT, [4], values)
    elif value == "external":
        (tmp_path / "w.bin").write_bytes(values.tobytes())
        tensor = external("w", "w.bin")
    elif value == "half":
        tensor = helper.make_tensor("w", TensorProto.BFLOAT16, [4], values)
    (warning,) = load(write(tmp_path / "m.onnx", [add()], weights=[tensor])).warnings
    assert warning.startswith(f"the tensor 'w' holds {words}")


def test_a_tensor_larger_than_its_data(tmp_path, refused):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[10**6, 10**6], raw_data=bytes(16))
    path = write(tmp_path / "m.onnx", [add()], weights=[tensor])
    refused(path, ModelFileError, "tensor 'w' claims 1,000,000,000,000 values", "the file holds 4")
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[-1], raw_data=bytes(16))
    refused(write(path, [add()], weights=[tensor]), ModelFileError, "tensor 'w' has a negative size [-1]")


def test_packed_and_other_types_are_sized_rightly(tmp_path):
    tensors = [
        helper.make_tensor("int4", TensorProto.INT4, [3], [1, -2, 3]),
        helper.make_tensor("uint4", TensorProto.UINT4, [2, 2], bytes([0x21, 0x43]), raw=True),
        helper.make_tensor("fp8", TensorProto.FLOAT8E4M3FN, [3], [1.0, 2.0, 3.0]),
        helper.make_tensor("half", TensorProto.FLOAT16, [3], [1.0, 2.0, 3.0]),
        helper.make_tensor("complex", TensorProto.COMPLEX64, [2], [1 + 2j, 3]),
        helper.make_tensor("text", TensorProto.STRING, [2], [b"a", b"b"]),
        helper.make_tensor("shape", TensorProto.INT64, [2], [3, 4]),
        helper.make_tensor("flags", TensorProto.BOOL, [2], [True, False]),
        helper.make_tensor("none", TensorProto.FLOAT, [0], []),
    ]
    model = load(write(tmp_path / "m.onnx", [relu()], weights=tensors))
    assert model.parameter_count == 3 + 4 + 3 + 3 + 2  # text, shapes and flags are not weights
    assert model.warnings == ()


def test_files_from_the_future(tmp_path, refused):
    path = write(tmp_path / "m.onnx", [relu()], opset=9999)
    refused(path, UnsupportedModelError, "opset 9999 of ai.onnx", "export with opset 21", server=False)
    refused(write(path, [relu()], ir=99), UnsupportedModelError, "ONNX IR version 99", "upgrade onnx", server=False)


def test_unknown_operators_are_flagged(tmp_path):
    nodes = [
        helper.make_node("Reluu", ["x"], ["z"], "a"),
        helper.make_node("Gelu", ["z"], ["y"], domain="com.microsoft"),
    ]
    model = load(write(tmp_path / "m.onnx", nodes))
    assert model.warnings == ("operators that opset 21 does not have: Reluu; no runtime can run them.",)
    assert [(layer.name, layer.type) for layer in model.layers] == [("a", "Reluu"), ("Gelu_1", "com.microsoft.Gelu")]


def test_dimensions_that_are_odd(tmp_path):
    path = write(tmp_path / "m.onnx", [relu()], inputs=[("x", [-1, 4])], outputs=[("y", [None, 0])])
    model = load(path)
    assert (model.inputs[0].shape, model.outputs[0].shape) == ((None, 4), (None, 0))
    assert model.warnings == (
        "'x' has a negative dimension (-1, 4); it is treated as free.",
        "'y' has a dimension of size zero (None, 0); no data can fit it.",
    )


def test_weights_listed_as_inputs_are_none(tmp_path):
    path = write(tmp_path / "m.onnx", [add()], inputs=[("x", ["n", 4]), ("w", [4])], weights=[weight([1, 2, 3, 4])])
    assert [spec.name for spec in load(path).inputs] == ["x"]


def test_outputs_that_are_no_tensors(tmp_path, refused):
    def change(model):
        model.graph.output[0].type.sequence_type.elem_type.tensor_type.elem_type = TensorProto.FLOAT

    path = edit(write(tmp_path / "m.onnx", [relu()]), change)
    refused(path, UnsupportedModelError, "output 'y' is a sequence, not a tensor", "zipmap", server=False)


def test_a_file_without_a_graph(tmp_path, refused):
    path = tmp_path / "m.onnx"
    model = onnx.ModelProto(ir_version=10, opset_import=[helper.make_opsetid("", 21)])
    path.write_bytes(model.SerializeToString())
    refused(path, ModelFileError, "an ONNX file without a graph")


def test_names_are_taken_as_they_are(tmp_path):
    name = "<img src=x onerror=alert(1)>"
    assert load(write(tmp_path / "m.onnx", [relu(name)])).layers[0].name == name


def test_an_endless_loop_is_read_and_not_run(tmp_path):
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["again"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("again", TensorProto.BOOL, [])],
    )
    nodes = [relu(), helper.make_node("Loop", ["", "forever"], [], "loop", body=body)]
    flag = numpy_helper.from_array(np.array(True), "forever")
    assert [layer.type for layer in load(write(tmp_path / "m.onnx", nodes, weights=[flag])).layers] == ["Relu", "Loop"]


def test_names_that_are_no_text(zoo, tmp_path, refused):
    data = zoo("cnn_onnx").read_bytes()
    for found in (b"Relu", b"flatten", b"conv_w", b"image"):
        path = tmp_path / "m.onnx"
        path.write_bytes(data.replace(found, b"\xff" * len(found)))
        refused(path, ModelFileError, "damaged")
