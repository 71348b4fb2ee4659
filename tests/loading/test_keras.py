import io
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from deploykit.core import extras
from deploykit.core.errors import ModelFileError, SettingError, UnsafeModelError, UnsupportedModelError
from deploykit.core.model import Layer, TensorSpec
from deploykit.loading._keras.names import LAYERS
from deploykit.loading._load import load
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task

WEIGHTS = "model.weights.h5"
IMAGE = TensorSpec("image", (None, 8, 8, 1), "float32")


def members(path):
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def rewrite(path, **changes):
    """Replace members (underscores stand for dots); None takes one away."""
    content = members(path) | {name.replace("__", "."): data for name, data in changes.items()}
    with zipfile.ZipFile(path, "w") as file:
        for name, data in content.items():
            if data is not None:
                file.writestr(name, data)
    return path


def edit_config(path, change):
    config = json.loads(members(path)["config.json"])
    change(config)
    return rewrite(path, config__json=json.dumps(config))


def edit_weights(path, change):
    buffer = io.BytesIO(members(path)[WEIGHTS])
    with h5py.File(buffer, "r+") as file:
        change(file)
    return rewrite(path, model__weights__h5=buffer.getvalue())


def test_a_functional_cnn(zoo):
    model = load(zoo("cnn_keras"))
    assert model.inputs == (IMAGE,)
    assert model.outputs == (TensorSpec("class", (None, 3), "float32", operator="Dense softmax"),)
    image = (None, 8, 8, 8)
    assert model.layers == (
        Layer("image", "InputLayer", (None, 8, 8, 1), 0, "input"),
        Layer("conv", "Conv2D", image, 72, "convolution"),
        Layer("norm", "BatchNormalization", image, 32, "normalization"),
        Layer("relu", "ReLU", image, 0, "activation"),
        Layer("depthwise", "DepthwiseConv2D", image, 80, "depthwise"),
        Layer("add", "Add", image, 0, "arithmetic"),
        Layer("pool", "GlobalAveragePooling2D", (None, 8), 0, "pooling"),
        Layer("class", "Dense", (None, 3), 27, "dense"),
    )
    assert (model.format, model.parameter_count, model.warnings) == ("keras", 211, ())
    assert model.size_bytes == zoo("cnn_keras").stat().st_size


def test_a_sequential_model(zoo):
    model = load(zoo("dense_keras"))
    assert model.inputs == (TensorSpec("features", (None, 4), "float32"),)
    assert model.outputs == (TensorSpec("value", (None, 1), "float32", operator="Dense linear"),)
    assert [(layer.name, layer.shape, layer.parameters) for layer in model.layers] == [
        ("features", (None, 4), 0),
        ("hidden", (None, 8), 40),
        ("value", (None, 1), 9),
    ]


def test_two_inputs_and_outputs_keep_their_order(zoo):
    model = load(zoo("two_inputs_keras"))
    assert [str(spec) for spec in model.inputs] == ["left: float32 (?, 4)", "right: float32 (?, 6)"]
    assert [str(spec) for spec in model.outputs] == ["score: float32 (?, 1)", "label: float32 (?, 3)"]


def test_models_in_models_are_flattened(zoo):
    model = load(zoo("nested_keras"))
    assert {layer.name: (layer.shape, layer.parameters) for layer in model.layers} == {
        "image": ((None, 8, 8, 1), 0),
        "backbone/inner_image": ((None, 8, 8, 1), 0),
        "backbone/inner_conv": ((None, 6, 6, 4), 40),
        "head/input_layer": ((None, 6, 6, 4), 0),
        "head/flatten": ((None, 144), 0),
        "head/logits": ((None, 3), 435),
    }
    assert model.outputs == (TensorSpec("head", (None, 3), "float32", operator="Dense linear"),)
    assert model.parameter_count == 475


def test_weights_are_found_without_names_in_the_weight_file(copy):
    def forget(file):
        file.visititems(lambda _, item: item.attrs.pop("name", None) and None)

    model = load(edit_weights(copy("nested_keras"), forget))
    assert [layer.parameters for layer in model.layers if layer.parameters] == [40, 435]


INNER_LSTM = {"module": "keras.layers", "class_name": "LSTM", "config": {"units": 3}}
INNER_DENSE = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 3}}
LAYER_KINDS = [
    ({"class_name": "Dense", "config": {"units": 5}}, [(4,)]),
    ({"class_name": "Dense", "config": {"units": 5, "dtype": "mixed_float16"}}, [(3, 4)]),
    ({"class_name": "Conv1D", "config": {"filters": 3, "kernel_size": 3, "padding": "causal"}}, [(9, 2)]),
    ({"class_name": "Conv2D", "config": {"filters": 3, "kernel_size": [3, 2], "strides": 2}}, [(9, 8, 2)]),
    ({"class_name": "Conv2D", "config": {"filters": 3, "kernel_size": 3, "dilation_rate": 2}}, [(9, 8, 2)]),
    ({"class_name": "Conv2D", "config": {"filters": 3, "kernel_size": 3, "padding": "same"}}, [(None, None, 2)]),
    ({"class_name": "SeparableConv2D", "config": {"filters": 3, "kernel_size": 3}}, [(9, 8, 2)]),
    ({"class_name": "DepthwiseConv2D", "config": {"kernel_size": 3, "depth_multiplier": 2}}, [(9, 8, 2)]),
    ({"class_name": "Conv2DTranspose", "config": {"filters": 3, "kernel_size": 3, "strides": 2}}, [(4, 5, 2)]),
    (
        {"class_name": "Conv2DTranspose", "config": {"filters": 3, "kernel_size": 2, "strides": 2, "padding": "same"}},
        [(4, 5, 2)],
    ),
    ({"class_name": "MaxPooling2D", "config": {"pool_size": 3, "padding": "same"}}, [(9, 8, 2)]),
    ({"class_name": "AveragePooling1D", "config": {"pool_size": 2, "strides": 1}}, [(9, 2)]),
    ({"class_name": "GlobalMaxPooling2D", "config": {"keepdims": True}}, [(9, 8, 2)]),
    ({"class_name": "ZeroPadding2D", "config": {"padding": [[0, 1], [2, 3]]}}, [(9, 8, 2)]),
    ({"class_name": "ZeroPadding1D", "config": {"padding": [1, 2]}}, [(9, 2)]),
    ({"class_name": "Cropping2D", "config": {"cropping": 1}}, [(9, 8, 2)]),
    ({"class_name": "UpSampling2D", "config": {"size": [2, 3]}}, [(9, 8, 2)]),
    ({"class_name": "Resizing", "config": {"height": 4, "width": 5}}, [(9, 8, 2)]),
    ({"class_name": "Flatten", "config": {}}, [(3, 4)]),
    ({"class_name": "Reshape", "config": {"target_shape": [2, -1]}}, [(3, 4)]),
    ({"class_name": "Permute", "config": {"dims": [2, 1]}}, [(3, 4)]),
    ({"class_name": "RepeatVector", "config": {"n": 3}}, [(4,)]),
    ({"class_name": "Concatenate", "config": {"axis": 1}}, [(3, 4), (5, 4)]),
    ({"class_name": "Multiply", "config": {}}, [(3, 4), (1, 4)]),
    ({"class_name": "Embedding", "config": {"input_dim": 9, "output_dim": 4}}, [(7,)]),
    ({"class_name": "LSTM", "config": {"units": 3, "return_sequences": True}}, [(7, 2)]),
    ({"class_name": "GRU", "config": {"units": 3}}, [(7, 2)]),
    (
        {"class_name": "Bidirectional", "config": {"layer": INNER_LSTM}},
        [(7, 2)],
    ),
    (
        {"class_name": "TimeDistributed", "config": {"layer": INNER_DENSE}},
        [(7, 2)],
    ),
    ({"class_name": "PReLU", "config": {}}, [(4,)]),
    ({"class_name": "Add", "config": {}}, [(None, 4), (3, 4)]),
    ({"class_name": "Add", "config": {}}, [(2, 3, 4), (4,)]),
    ({"class_name": "Subtract", "config": {}}, [(None, 4), (1, 4)]),
    ({"class_name": "MaxPooling2D", "config": {"data_format": "channels_first", "pool_size": 2}}, [(2, 9, 8)]),
    ({"class_name": "Conv2D", "config": {"filters": 3, "kernel_size": 3, "dilation_rate": [2, 1]}}, [(9, 8, 2)]),
    ({"class_name": "Conv1DTranspose", "config": {"filters": 3, "kernel_size": 3, "dilation_rate": 2}}, [(9, 2)]),
    ({"class_name": "LSTM", "config": {"units": 3, "go_backwards": True}}, [(None, 2)]),
    ({"class_name": "MelSpectrogram", "config": {}}, [(16000,)]),  # no rule: Keras is asked
]


def test_shapes_and_counts_are_those_of_keras(made, tmp_path):
    layers = [
        ({"module": "keras.layers", **layer, "config": {"name": f"probe{i}", **layer["config"]}}, shapes)
        for i, (layer, shapes) in enumerate(LAYER_KINDS)
    ]
    told = made("shapes", folder=tmp_path, layers=layers)
    assert len(told) == len(layers)
    found = {}
    for name in told:
        model = load(tmp_path / name)
        found[name] = [list(model.outputs[0].shape), model.outputs[0].dtype, model.parameter_count]
    assert found == told


def test_sequential_models_with_layers_no_rule_knows(made, tmp_path):
    files = made("sequentials", folder=tmp_path)["files"]
    assert len(files) == 12
    for file in files:
        model = load(tmp_path / file, imports=["my_layers"] if "own" in file else [])
        assert [(spec.name, spec.shape) for spec in model.inputs] == [("x", (None, 8, 8, 3))], file
        assert [(spec.name, spec.shape, spec.operator) for spec in model.outputs] == [
            ("head", (None, 3), "Dense linear")
        ], file


def test_the_list_of_layer_names_is_that_of_keras(made):
    assert set(made("layer_names")["names"]) == LAYERS


def test_a_lambda_layer_is_never_run_unless_trusted(made, tmp_path, refused):
    path, mark = tmp_path / "m.keras", tmp_path / "was-run"
    made("lambda_model", path=path, mark=mark)
    refused(path, UnsafeModelError, "layer 'mark' is a Lambda layer", "none of it was run", "trusted=True")
    assert not mark.exists()
    trusted = load(path, trusted=True)
    assert trusted.trusted
    assert trusted.outputs[0].shape == (None, 4)
    assert mark.exists()  # the mark works


@pytest.mark.parametrize("kind", ["TFSMLayer", "TorchModuleWrapper"])
def test_layers_that_load_other_files_are_refused(copy, refused, kind):
    def plant(config):
        config["config"]["layers"][6]["class_name"] = kind

    refused(edit_config(copy("cnn_keras"), plant), UnsafeModelError, f"layer 'pool' is a {kind} layer")


def test_code_hidden_in_a_setting_is_found(copy, refused):
    def plant(config):
        config["config"]["layers"][1]["config"]["activation"] = {
            "class_name": "__lambda__",
            "config": {"value": "4wEAAAA="},
        }

    refused(edit_config(copy("cnn_keras"), plant), UnsafeModelError, "layer 'conv' is a Lambda layer")


def _in(part):
    """Puts an object into the settings of the first convolution, which Keras would make."""

    def plant(config):
        config["config"]["layers"][1]["config"]["activation"] = part

    return plant


def _beside(key):
    def plant(config):
        config["config"]["layers"][1][key] = {"thing": [{"class_name": "__lambda__", "config": {"value": "4wEAAAA="}}]}

    return plant


POSIX = {"module": "posix", "class_name": "function", "config": "system", "registered_name": "system"}


@pytest.mark.parametrize("imports", [[], ["posix"], ["my_layers"]])
@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (_in(POSIX), "system of the module 'posix'"),
        (_in(POSIX | {"class_name": "Popen", "module": "subprocess", "config": {"args": "id"}}), "'subprocess'"),
        (_in(POSIX | {"class_name": "eval", "module": "builtins", "config": {}}), "eval of the module 'builtins'"),
        (_in(POSIX | {"module": "keras.utils", "config": "get_file"}), "get_file of the module 'keras.utils'"),
        (_in(POSIX | {"module": "keras.src.utils.file_utils", "config": "copy"}), "'keras.src.utils.file_utils'"),
        (_in(POSIX | {"module": "keras.models", "config": "load_model"}), "load_model"),
        (_in(POSIX | {"module": "keras.models", "class_name": "load_model", "config": {}}), "load_model"),
        (_in([{"nested": POSIX}]), "system"),
        (_in({"class_name": "__slice__", "config": {"start": POSIX, "stop": 1, "step": None}}), "system"),
        (_in({"class_name": "__numpy__", "config": {"value": [1], "dtype": "object"}}), "type 'object'"),
        (_in({"class_name": "__tensor__", "config": {"value": [1], "dtype": "variant"}}), "type 'variant'"),
        (_beside("build_config"), "holds code"),
        (_beside("compile_config"), "holds code"),
    ],
)  # fmt: skip
def test_what_is_not_a_part_of_a_model_is_unsafe(copy, refused, monkeypatch, plant, found, imports):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    error = refused(edit_config(copy("cnn_keras"), plant), UnsafeModelError, found, imports=imports)
    assert "imports=[" not in error.remedy.replace("imports=[…]", "")


def test_only_layers_and_what_is_registered_can_be_named(copy, tmp_path, monkeypatch):
    (tmp_path / "careless.py").write_text("from posix import system\ndef erase(x): raise SystemExit\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("system", "erase"):
        path = edit_config(copy("cnn_keras", f"{name}.keras"), _in(name))  # by name alone, as activations are
        arguments = {"format": "keras", "path": str(path), "trusted": False, "imports": ["careless"], "fully": True}
        task = Task("deploykit.loading._load:read_summary", arguments, group="tensorflow", imports=("careless",))
        with pytest.raises(ModelFileError, match=name):
            shared().run(task)


def test_what_a_model_was_trained_with_does_not_matter(copy):
    def plant(config):
        config["compile_config"] = {"loss": {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}}}

    assert load(edit_config(copy("cnn_keras"), plant)).outputs[0].name == "class"


def test_a_module_named_by_the_file_is_never_imported(copy, refused, tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w').close()\nclass Twice: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    def plant(config):
        config["config"]["layers"][3] |= {"module": "evil", "class_name": "Twice"}

    path = edit_config(copy("cnn_keras"), plant)
    refused(path, UnsupportedModelError, "layer 'relu' uses 'Twice' of the module 'evil'", 'imports=["my_layers"]')
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("kind", ["Twice", "Thrice"])
def test_custom_layers_need_their_module(made, tmp_path, refused, kind):
    path = tmp_path / "m.keras"
    made("custom", kind=kind, path=path)
    words = f"layer 'own' uses '{kind}' of the module 'my_layers'"
    refused(path, UnsupportedModelError, words, 'imports=["my_layers"]')
    model = load(path, imports=["my_layers"])
    assert model.imports == ("my_layers",)
    assert model.layers[-1] == Layer("own", kind, (None, 3), 0, "other")
    assert model.parameter_count == 15


def test_a_module_without_the_class(made, tmp_path, refused):
    path = tmp_path / "m.keras"
    made("custom", kind="Thrice", path=path)
    refused(path, UnsupportedModelError, "it uses 'Thrice', which Keras does not know", imports=["json"])


def test_a_module_that_cannot_be_imported(made, tmp_path):
    path = tmp_path / "m.keras"
    made("custom", kind="Twice", path=path)
    with pytest.raises(SettingError, match=r"Cannot import 'no_such_module' in a child process"):
        load(path, imports=["no_such_module"])


def test_a_model_of_its_own_class(made, tmp_path):
    path = tmp_path / "m.bin"  # Keras insists on the ending, deploykit does not
    made("custom", kind="Net", path=tmp_path / "m.keras")
    (tmp_path / "m.keras").rename(path)
    model = load(path, imports=["my_layers"])
    assert model.inputs == (TensorSpec("input", (None, 4), "float32"),)
    assert model.outputs == (TensorSpec("output_0", (None, 3), "float32"),)
    assert model.layers == (Layer("dense", "Dense", None, 15, "dense"),)


@pytest.mark.parametrize(("value", "words"), [(np.nan, "NaN"), (np.inf, "infinite values")])
def test_weights_that_are_no_numbers_are_named(copy, value, words):
    def poison(file):
        file["layers/conv2d/vars/0"][1, 1, 0, 3] = value

    model = load(edit_weights(copy("cnn_keras"), poison))
    (warning,) = model.warnings
    assert f"the weights 'layers/conv2d/vars/0' hold {words}" in warning


def test_the_state_of_the_optimizer_is_no_weight(copy):
    def add(file):
        file["optimizer/vars/0"] = np.full((10, 10), np.nan, np.float32)
        file["layers/dropout/seed_generator/vars/0"] = np.zeros(2, np.uint32)

    model = load(edit_weights(copy("cnn_keras"), add))
    assert model.parameter_count == 211
    assert model.warnings == ("400 bytes of the file are the optimizer's state, which serving does not need.",)


@pytest.mark.parametrize("member", ["config.json", WEIGHTS])
def test_missing_members(copy, refused, member):
    path = rewrite(copy("cnn_keras"), **{member.replace(".", "__"): None})
    refused(path, ModelFileError, f"the archive has no {member}")


def test_damaged_members(copy, refused):
    refused(rewrite(copy("cnn_keras"), config__json="{nope"), ModelFileError, "config.json is damaged")
    refused(rewrite(copy("cnn_keras"), config__json="[]"), ModelFileError, "config.json does not hold a JSON object")
    deep = '{"a":' * 300 + "1" + "}" * 300
    refused(rewrite(copy("cnn_keras"), config__json=deep), ModelFileError, "config.json: JSON nested deeper")
    weights = members(copy("cnn_keras"))[WEIGHTS]
    path = rewrite(copy("cnn_keras"), model__weights__h5=weights[:9000])
    refused(path, ModelFileError, f"{WEIGHTS}: truncated: 9,000 of {len(weights):,} bytes")
    refused(rewrite(copy("cnn_keras"), model__weights__h5=b"x" * 99), ModelFileError, f"{WEIGHTS}: not an HDF5 file")


def test_a_byte_changed_inside_the_archive(copy, refused):
    path = copy("cnn_keras")
    data = bytearray(path.read_bytes())
    at = data.index(b"\x89HDF") + 5000
    data[at] ^= 0xFF
    path.write_bytes(bytes(data))
    refused(path, ModelFileError, f"{WEIGHTS} is truncated or damaged", "CRC")


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"class_name": "Functional", "config": {"layers": [3]}}, "its config is malformed"),
        (
            {"class_name": "Functional", "config": {"layers": [], "input_layers": 3, "output_layers": []}},
            "its config is malformed",
        ),
        ({"class_name": "Functional", "config": {"layers": [{"class_name": "Dense"}]}}, "its config lacks 'config'"),
        ({"class_name": "Sequential", "config": {"layers": []}}, "a Sequential model without layers"),
        ({"config": {"layers": []}}, "its config lacks 'class_name'"),
    ],
)
def test_malformed_configs(copy, refused, config, found):
    refused(rewrite(copy("cnn_keras"), config__json=json.dumps(config)), ModelFileError, found)


def test_a_layer_larger_than_the_file(copy, refused):
    def grow(config):
        config["config"]["layers"][-1]["config"]["units"] = 10**10

    path = edit_config(copy("cnn_keras"), grow)
    refused(path, ModelFileError, "layer 'class' claims units=10,000,000,000, but the file holds 211 weights")


def test_a_tensor_larger_than_the_file(copy, refused):
    def grow(file):
        del file["layers/dense/vars/0"]
        file.create_dataset("layers/dense/vars/0", (10**6, 10**6), "f4", chunks=(1000, 1000))

    path = edit_weights(copy("cnn_keras"), grow)
    refused(path, ModelFileError, "'layers/dense/vars/0' claims 4,000,000,000,000 bytes")


def test_weights_must_be_in_the_file_itself(copy, refused, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(96))

    def external(file):
        del file["layers/dense/vars/0"]
        file.create_dataset("layers/dense/vars/0", (8, 3), "f4", external=[(str(tmp_path / "secret"), 0, 96)])

    def link(file):
        del file["layers/dense/vars/0"]
        file["layers/dense/vars/0"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/x")

    def soft(file):
        file["layers/again"] = h5py.SoftLink("/layers/dense")

    def virtual(file):
        layout = h5py.VirtualLayout((8, 3), "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (8, 3))
        del file["layers/dense/vars/0"]
        file.create_virtual_dataset("layers/dense/vars/0", layout)

    for change, found in [
        (external, "the values of 'layers/dense/vars/0' are in another file"),
        (virtual, "the values of 'layers/dense/vars/0' are in another file"),
        (link, "'layers/dense/vars/0' links to another place"),
        (soft, "'layers/again' links to another place"),
    ]:
        refused(edit_weights(copy("cnn_keras"), change), ModelFileError, found)


def test_groups_that_hold_each_other_end(copy):
    def loop(file):
        file["layers/dense/again"] = file["layers"]

    assert load(edit_weights(copy("cnn_keras"), loop)).parameter_count == 211


def test_a_model_that_was_never_called(copy, refused):
    def forget(config):
        config["config"].pop("build_input_shape")
        config["config"]["layers"].pop(0)
        for layer in config["config"]["layers"]:
            layer.pop("build_config")

    refused(edit_config(copy("dense_keras"), forget), UnsupportedModelError, "has never been called", "call it once")


def test_a_file_of_a_newer_keras_is_flagged(copy):
    path = rewrite(copy("cnn_keras"), metadata__json='{"keras_version": "9.1.0"}')
    (warning,) = load(path).warnings
    assert warning.startswith(f"saved by Keras 9.1.0, newer than the {extras.version('keras')}")


def test_efficient_storage_of_a_pruned_model_is_no_bomb(copy, tmp_path):
    path = copy("cnn_keras")
    content = members(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in content.items():
            file.writestr(name, data)
    assert load(path).parameter_count == 211
    assert Path(path).stat().st_size < sum(map(len, content.values()))
