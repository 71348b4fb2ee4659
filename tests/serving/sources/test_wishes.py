"""Which models are wanted, as TensorFlow Serving's and Triton's users write it down."""

import pytest

from deploykit.core.errors import ServeError
from deploykit.serving.sources.held import versions_in
from deploykit.serving.sources.wishes import Wish, read_models_config, versions_of, wishes_in


def folders(root, *names):
    for name in names:
        (root / name).mkdir(parents=True)
    return root


def config(tmp_path, text):
    file = tmp_path / "models.config"
    file.write_text(text)
    return file


def refused(call, *arguments):
    with pytest.raises(ServeError) as caught:
        call(*arguments)
    assert caught.value.remedy
    return caught.value.message


def test_versions_are_folders_named_by_whole_numbers(tmp_path):
    folders(tmp_path, "2", "00000123", "10", "-1", "+4", "1.5", "latest", "٣", "9223372036854775808", "0")
    (tmp_path / "7").write_text("a file")
    assert versions_of(tmp_path) == {
        0: tmp_path / "0", 2: tmp_path / "2", 10: tmp_path / "10", 123: tmp_path / "00000123"
    }  # fmt: skip
    assert list(versions_of(tmp_path)) == [0, 2, 10, 123]
    assert versions_of(tmp_path / "absent") == {}


def test_of_two_names_for_a_version_the_last_one_counts(tmp_path):
    """TensorFlow Serving indexes names in their order, each in the place of an earlier one."""
    assert versions_of(folders(tmp_path, "01", "1", "001")) == {1: tmp_path / "1"}


@pytest.mark.parametrize(
    ("wish", "wanted"),
    [
        (Wish("m", "p"), (9,)),
        (Wish("m", "p", count=2), (5, 9)),
        (Wish("m", "p", count=7), (1, 5, 9)),
        (Wish("m", "p", "all"), (1, 5, 9)),
        (Wish("m", "p", "specific", (1, 9, 12)), (1, 9)),
        (Wish("m", "p", "specific", (12,)), ()),
    ],
)
def test_policies_choose_among_what_is_there(wish, wanted):
    assert wish.of([9, 1, 5]) == wanted
    assert wish.of([]) == ()


#: As in TensorFlow Serving's guide "Tensorflow Serving Configuration".
GUIDE = """
model_config_list {
  config {
    name: 'my_first_model'
    base_path: '/tmp/my_first_model/'
    model_platform: 'tensorflow'
  }
  config {
    name: 'my_second_model'
    base_path: '/tmp/my_second_model/'
    model_platform: 'tensorflow'
    model_version_policy {
      specific { versions: 42  versions: 43 }
    }
    version_labels { key: 'stable' value: 43 }
    version_labels { key: 'canary' value: 42 }
    logging_config {
      sampling_config { sampling_rate: 0.5 }
    }
  }
  config { name: 'a', base_path: 'near', model_type: TENSORFLOW, model_version_policy: { latest { num_versions: 3 } } },
  config { name: 'b' base_path: '../far' model_version_policy: { all: {} } }
  config { name: 'c' base_path: 'c' model_version_policy { latest {} } }
}
"""


def test_a_models_config_is_read(tmp_path):
    root = tmp_path / "in"
    root.mkdir()
    found = read_models_config(config(root, GUIDE))
    assert [(str(w.path), w.policy, w.numbers, w.labels, w.count) for w in found] == [
        ("/tmp/my_first_model", "latest", (), {}, 1),
        ("/tmp/my_second_model", "specific", (42, 43), {"canary": 42, "stable": 43}, 1),
        (str(root / "near"), "latest", (), {}, 3),
        (str(tmp_path / "far"), "all", (), {}, 1),
        (str(root / "c"), "latest", (), {}, 1),
    ]
    assert [w.name for w in found] == ["my_first_model", "my_second_model", "a", "b", "c"]
    assert wishes_in(root / "models.config") == found


def test_a_message_is_read_as_its_text_is(tmp_path):
    from google.protobuf import text_format
    from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

    text = GUIDE.replace("'near'", "'/near'").replace("'../far'", "'/far'").replace("base_path: 'c'", "base_path: '/c'")
    theirs = text_format.Parse(text, ModelServerConfig())
    assert read_models_config(theirs) == read_models_config(config(tmp_path, text))
    message = refused(read_models_config, text_format.Parse(GUIDE, ModelServerConfig()))
    assert message == (
        "The configuration: model_config_list.config[2] ('a'): expected an absolute base_path, got 'near'."
    )


ONE = "model_config_list {{ config {{ {} }} }}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("improperly formatted file", "Error parsing text-format tensorflow.serving.ModelServerConfig: 1:1 : "),
        (ONE.format('name: "a" base_pth: "/a"'), 'has no field named "base_pth"'),
        ("", "it has no model_config_list"),
        (ONE.format('base_path: "/a"'), "model_config_list.config[0]: name is missing"),
        (ONE.format('name: "a/b" base_path: "/a"'), "'a/b' cannot be part of a URL"),
        (ONE.format('name: "a"'), "config[0] ('a'): expected an absolute base_path, got none"),
        (ONE.format('name: "a" base_path: "gs://b/a"'), "base_path is 'gs://b/a'; models are read from this machine's"),
        (ONE.format('name: "a" base_path: "/a" model_platform: "jax"'), "model_platform is 'jax'; expected 'tensorf"),
        (ONE.format('name: "a" base_path: "/a" model_type: OTHER'), "model_platform is 'OTHER'"),
        (
            ONE.format('name: "a" base_path: "/a" model_version_policy { specific {} }'),
            "('a'): model_version_policy: expected specific versions from 0 on, got none",
        ),
        (
            ONE.format('name: "a" base_path: "/a" model_version_policy { specific { versions: [3, -1] } }'),
            "expected specific versions from 0 on, got -1, 3",
        ),
        (
            "model_config_list { config { name: 'a' base_path: '/a' } config { name: 'a' base_path: '/b' } }",
            "name 'a' is there twice",
        ),
        (
            ONE.format('name: "a" base_path: "/a" version_labels { key: "x/y" value: 1 }'),
            "config[0] ('a'): version_labels: 'x/y' cannot be part of a URL",
        ),
        (
            ONE.format('name: "a" base_path: "/a" version_labels { key: "x" value: -1 }'),
            "version_labels: 'x' is for version -1; expected a number from 0 on",
        ),
        (
            ONE.format(
                'name: "a" base_path: "/a" model_version_policy { specific { versions: [1, 3] } } '
                'version_labels { key: "x" value: 2 }'
            ),
            "version_labels: 'x' is for version 2; expected 1, 3",
        ),
    ],
)
def test_errors_name_the_file_and_the_field(text, message, tmp_path):
    file = config(tmp_path, text)
    said = refused(read_models_config, file)
    assert said.startswith(f"{file}: ")
    assert message in said


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path):
    assert "models.config" in refused(read_models_config, tmp_path / "models.config")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert "Error parsing text-format" in refused(read_models_config, tmp_path / "binary")
    said = refused(wishes_in, tmp_path / "binary")
    assert said.startswith(f"{tmp_path / 'binary'} is neither text, as a models.config is, nor a model that")


def test_a_folder_of_versions_is_one_model(tmp_path):
    base = folders(tmp_path / "half_plus_two", "00000123", "124")
    assert wishes_in(base) == (Wish("half_plus_two", base),)
    assert wishes_in(base, "other") == (Wish("other", base),)


#: From Triton's documentation of model configurations, cut down.
TRITON = """
name: "second"
platform: "onnxruntime_onnx"
max_batch_size: 8
input [ { name: "input0" data_type: TYPE_FP32 dims: [ 16 ] } ]
output [ { name: "output0" data_type: TYPE_FP32 dims: [ 16 ] label_filename: "labels.txt" } ]
version_policy: { specific: { versions: [1, 3] } }
instance_group [ { count: 2 kind: KIND_CPU } ]
dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 }
parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
optimization { execution_accelerators { gpu_execution_accelerator : [ { name : "tensorrt" } ] } }
"""


def test_a_triton_repository_is_read(tmp_path):
    root = folders(tmp_path, "first/1", "second/1", "second/2", "second/3", "third/1", ".git/1", "notes")
    (root / "second/config.pbtxt").write_text(TRITON)
    (root / "second/labels.txt").write_text("cat\nbig dog\n")
    third = 'backend: "onnxruntime" version_policy: { all: {} } default_model_filename: "net.onnx"'
    (root / "third/config.pbtxt").write_text(third)
    assert wishes_in(root) == (
        Wish("first", root / "first"),
        Wish("second", root / "second", "specific", (1, 3), classes={"output0": ("cat", "big dog")}),
        Wish("third", root / "third", "all", file="net.onnx"),
    )
    (root / "second/labels.txt").rename(root / "second/names.txt")
    assert "labels.txt" in refused(wishes_in, root)
    (root / "second/names.txt").rename(root / "second/labels.txt")
    assert versions_in(wishes_in(root)[2]) == {1: root / "third" / "1" / "net.onnx"}
    assert wishes_in(folders(tmp_path / "one", "first/1"), "mine") == (Wish("mine", tmp_path / "one" / "first"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name: "other"', "name is 'other'; expected 'model', the name of its folder"),
        ('backend: "python"', "backend is 'python'; expected 'onnxruntime' or 'tensorflow'"),
        ('platform: "ensemble"', "platform is 'ensemble'; expected 'onnxruntime_onnx' or 'tensorflow_savedmodel'"),
        ("version_policy: { specific: {} }", "version_policy: expected specific versions from 0 on, got none"),
        ("sequence_batching {}", "sequence_batching cannot be had here"),
        ('default_model_filename: "../x.onnx"', "default_model_filename is '../x.onnx'; expected a name"),
        ("name: [", "Error parsing text-format inference.ModelConfig: 1:7 : "),
    ],
)
def test_errors_of_a_triton_repository_name_the_file_and_the_field(text, message, tmp_path):
    file = folders(tmp_path, "model/1") / "model" / "config.pbtxt"
    file.write_text(text)
    assert refused(wishes_in, tmp_path).startswith(f"{file}: {message}")


def test_what_asks_for_nothing_is_refused(tmp_path):
    assert refused(wishes_in, tmp_path / "absent") == f"{tmp_path / 'absent'} does not exist."
    folders(tmp_path, "a/b")
    assert refused(wishes_in, tmp_path) == f"{tmp_path} holds no model."
