"""What holds for every format: the bad files of each, told apart; and what ``load`` itself does."""

import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deploykit.core import errors
from deploykit.core.errors import Cancelled, ModelFileError, SettingError
from deploykit.loading import _load
from deploykit.loading._contract import FORMATS
from deploykit.loading._load import load

FILES = {"keras": "cnn_keras", "h5": "cnn_h5", "onnx": "cnn_onnx", "tflite": "cnn_tflite", "frozen_pb": "cnn_frozen_pb"}
SUFFIXES = {"keras": ".keras", "h5": ".h5", "onnx": ".onnx", "tflite": ".tflite", "frozen_pb": ".pb"}
every_file = pytest.mark.parametrize("form", FILES)


def test_every_format_is_covered():
    assert {*FILES, "saved_model", "caffe", "pmml", "pytorch"} == set(FORMATS.names())  # these have tests of their own


@every_file
def test_the_format_is_told_by_content(copy, form):
    for other, suffix in SUFFIXES.items():
        path = copy(FILES[form], f"model{suffix}")
        model = load(path)
        assert model.format == form
        label = FORMATS.get(form).label
        named = [text for text in model.warnings if not text.startswith("the file does not say")]
        assert named == ([] if other == form else [f"named {suffix}, but the content is {label}."])
    assert not [text for text in load(copy(FILES[form], "model")).warnings if text.startswith("named")]


@every_file
def test_a_missing_file(form, tmp_path, refused):
    refused(tmp_path / f"m{SUFFIXES[form]}", ModelFileError, "no such file")


@every_file
def test_an_empty_file(form, tmp_path, refused):
    path = tmp_path / f"m{SUFFIXES[form]}"
    path.touch()
    refused(path, ModelFileError, "the file is empty (0 bytes)")


@every_file
@pytest.mark.parametrize("part", [0.999, 0.6, 0.3])
def test_a_truncated_file(copy, refused, form, part):
    path = copy(FILES[form])
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    refused(path, ModelFileError, "truncated", f"{int(len(whole) * part):,}")


@every_file
@pytest.mark.parametrize("length", [1, 3, 7, 30])
def test_a_file_of_a_few_bytes(copy, refused, form, length):
    path = copy(FILES[form])
    path.write_bytes(path.read_bytes()[:length])
    refused(path, ModelFileError)


@every_file
def test_random_bytes(form, tmp_path, refused):
    for seed in range(5):
        path = tmp_path / f"m{seed}{SUFFIXES[form]}"
        path.write_bytes(random.Random(seed).randbytes(5000))
        label = FORMATS.get(form).label
        refused(path, ModelFileError, f"named {SUFFIXES[form]}, but the content is not {label}", "the bytes")


@every_file
def test_random_bytes_behind_a_sound_beginning(copy, refused, form):
    path = copy(FILES[form])
    path.write_bytes(path.read_bytes()[:64] + random.Random(1).randbytes(5000))
    refused(path, ModelFileError)


@every_file
def test_a_git_lfs_pointer(form, tmp_path, refused):
    path = tmp_path / f"m{SUFFIXES[form]}"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n")
    refused(path, ModelFileError, "Git LFS pointer", "git lfs pull")


@every_file
def test_flipped_bits_end_in_an_error_or_a_model(copy, form):
    path = copy(FILES[form])
    whole = path.read_bytes()
    chance = random.Random(form)
    refusals = []
    for _ in range(30 if form == "tflite" else 10):
        data = bytearray(whole)
        for _ in range(4):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(bytes(data))
        try:
            load(path)
        except (ModelFileError, errors.UnsupportedModelError) as error:
            refusals.append(str(error))
    assert refusals, "no corruption was noticed"
    assert all(str(path) in text for text in refusals)


def test_a_plain_folder_names_the_models_in_it(tmp_path, copy, refused):
    folder = tmp_path / "models"
    folder.mkdir()
    refused(folder, ModelFileError, "a folder without a model", "it holds nothing", "Keras (.keras); ONNX (.onnx)")
    copy("cnn_onnx").rename(folder / "a.onnx")
    (folder / "notes.txt").write_text("x")
    refused(folder, ModelFileError, "it holds a.onnx, notes.txt", "pass one of the models in it: a.onnx")


def test_a_text_file_is_described(tmp_path, refused):
    path = tmp_path / "readme.txt"
    path.write_text("# My model\n")
    refused(path, ModelFileError, "not a model in a known format", "the text '# My model'", "ONNX (.onnx)")


@pytest.fixture
def reader(monkeypatch):
    """Replace the task that reads files by one that misbehaves."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return lambda name: monkeypatch.setattr(_load, "READER", f"reader_faults:{name}")


def test_a_crash_of_the_parser_is_a_corrupt_file(copy, reader, refused):
    path = copy("cnn_onnx")
    reader("segfault")
    error = refused(path, ModelFileError, "the file is corrupt: the parser died (killed by SIGSEGV (signal 11))")
    assert Path(error.log).is_file()


def test_a_reading_that_is_given_up_kills_its_process(copy, reader):
    path = copy("cnn_onnx")
    reader("hang")
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled, match=r"reading cnn_onnx\.onnx"):
        load(path, cancel=cancel)


def test_a_parser_that_hangs(copy, reader, refused, monkeypatch):
    path = copy("cnn_onnx")
    reader("hang")
    monkeypatch.setattr(_load, "DEADLINE_S", 0.5)
    refused(path, ModelFileError, "took longer than 0.5 s")


def test_a_parser_that_grows(copy, reader, refused, monkeypatch):
    path = copy("cnn_onnx")
    reader("grow")
    monkeypatch.setattr(_load, "MEMORY_BYTES", 1 << 30)
    refused(path, ModelFileError, "took more than 1 GiB of memory")


def test_a_parser_that_raises(copy, reader, refused):
    path = copy("cnn_onnx")
    reader("surprise")
    refused(path, ModelFileError, "it cannot be read: ZeroDivisionError: a line")


def test_a_loaded_model_is_returned_as_it_is(zoo):
    model = load(zoo("cnn_onnx"))
    assert load(model) is model


def test_paths_may_have_any_characters(copy):
    path = copy("cnn_onnx", "größe 📦 'x'.onnx")
    assert load(path).path == str(path)
    assert load(str(path)).digest == load(path).digest


def test_equal_content_has_equal_digests(copy, zoo):
    assert load(copy("cnn_keras", "other.keras")).digest == load(zoo("cnn_keras")).digest
    assert load(zoo("cnn_h5")).digest != load(zoo("cnn_keras")).digest


@pytest.mark.parametrize("imports", ["my_layers", [3]])
def test_imports_must_be_a_list_of_names(zoo, imports):
    with pytest.raises(SettingError, match=r"imports must be a list of module names"):
        load(zoo("cnn_onnx"), imports=imports)


def test_imports_mean_nothing_to_a_graph(zoo):
    model = load(zoo("cnn_onnx"), imports=["no_such_module"])
    assert model.imports == ()
    assert model.warnings == ("imports=['no_such_module'] has no effect on ONNX files.",)


@pytest.mark.parametrize("thing", [5, None, b"model.onnx", ["a.onnx"]])
def test_what_is_no_model(thing):
    with pytest.raises(SettingError, match=r"Expected a model, got builtins"):
        load(thing)


def test_loading_imports_no_framework_into_this_process(zoo):
    code = (
        "import sys, deploykit as dk\n"
        f"for path in {[str(zoo(kind)) for kind in ('cnn_onnx', 'cnn_tflite', 'cnn_keras', 'cnn_saved_model')]!r}:\n"
        "    dk.load(path)\n"
        "heavy = {'numpy', 'onnx', 'onnxruntime', 'ai_edge_litert', 'h5py', 'tensorflow', 'keras', 'google'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
