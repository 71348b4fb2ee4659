import io
import os
import pickle
import socket
import struct
import zipfile

import numpy as np
import pytest

from deploykit.core.errors import ModelFileError
from deploykit.sandbox import gate


def refused(path, *parts):
    with pytest.raises(ModelFileError) as caught:
        gate.check(path)
    text = str(caught.value)
    assert caught.value.remedy
    for part in parts:
        assert part in text, text
    return text


def write(path, data):
    path.write_bytes(data)
    return path


def archive(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


def test_a_sound_file_passes(tmp_path):
    path = write(tmp_path / "größe 📦.onnx", b"\x08\x0a" + bytes(range(200)) * 50)
    passed = gate.check(path)
    assert (passed.path, passed.is_folder, passed.size_bytes) == (path, False, 10_002)
    assert passed.head == path.read_bytes()[: gate.HEAD_BYTES]


def test_relative_paths_and_the_home_folder_are_made_absolute(tmp_path, monkeypatch):
    write(tmp_path / "m.onnx", b"\x08\x0aabc")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert gate.check("m.onnx").path == tmp_path / "m.onnx"
    assert gate.check("~/m.onnx").path == tmp_path / "m.onnx"


def test_a_missing_file_names_its_neighbors(tmp_path):
    write(tmp_path / "fashion_cnn.keras", b"x")
    text = refused(tmp_path / "fashion_cn.keras", "no such file", "did you mean fashion_cnn.keras?")
    assert str(tmp_path / "fashion_cn.keras") in text


def test_a_missing_folder_is_named(tmp_path):
    refused(tmp_path / "models" / "a.onnx", f"the folder {tmp_path / 'models'} does not exist")


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_what_is_no_path(name):
    refused(name, "Not a path")


def test_a_name_that_is_too_long(tmp_path):
    refused(tmp_path / ("x" * 4000), "cannot be opened", "too long")


def test_links(tmp_path):
    real = write(tmp_path / "real.onnx", b"\x08\x0aabc")
    (tmp_path / "good.onnx").symlink_to(real)
    (tmp_path / "dangling.onnx").symlink_to("nowhere.onnx")
    (tmp_path / "loop.onnx").symlink_to("loop.onnx")
    assert gate.check(tmp_path / "good.onnx").size_bytes == 5
    refused(tmp_path / "dangling.onnx", "a link to 'nowhere.onnx'")
    refused(tmp_path / "loop.onnx", "a link to 'loop.onnx'")


def test_an_empty_file(tmp_path):
    refused(write(tmp_path / "m.onnx", b""), "m.onnx: the file is empty (0 bytes)")


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".onnx", ".tflite"])
def test_a_fifo_is_refused_without_being_opened(tmp_path, suffix):
    path = tmp_path / f"pipe{suffix}"
    os.mkfifo(path)
    refused(path, "a named pipe (FIFO)")
    with pytest.raises(ModelFileError, match="named pipe"):  # even when it takes the file's place after the check
        gate.read_head(path)


def test_devices_and_sockets(tmp_path, monkeypatch):
    refused("/dev/zero", "/dev/zero", "a character device")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # the name of a socket must be short
        server.bind("s.onnx")
        refused(tmp_path / "s.onnx", "a socket")


def test_a_sparse_terabyte(tmp_path):
    path = tmp_path / "big.onnx"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    refused(path, "1,099,511,627,776 bytes", "0 are on disk (a sparse file)", f"{gate.MAX_FILE_BYTES:,}")


def test_permission_is_explained(tmp_path, monkeypatch):
    path = write(tmp_path / "m.onnx", b"abc")

    def denied(*_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", denied)  # root may read everything, so the refusal is played
    refused(path, "cannot be read: Permission denied")


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2\nsize 12345\n"


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".onnx", ".tflite", ""])
def test_git_lfs_pointers(tmp_path, suffix):
    refused(write(tmp_path / f"m{suffix}", POINTER), f"m{suffix}: this is a Git LFS pointer", "run git lfs pull")


def test_git_annex_pointers(tmp_path):
    refused(write(tmp_path / "m.onnx", b"/annex/objects/SHA256E-s3--ab.onnx\n"), "git-annex pointer", "git annex get")


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><p>404", b"\n  <html lang=en>", b"<?xml version='1.0'?>\n<html>"])
def test_html_pages(tmp_path, page):
    refused(write(tmp_path / "m.keras", page), "this is an HTML page, not a model", "download the raw file")


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("pickle-was-run",))


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_are_never_unpickled(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps(Bomb(), protocol)
    refused(write(tmp_path / "m.pkl", data), "a Python pickle, which deploykit never unpickles")
    if protocol != 1:  # protocol 1 has no mark of its own
        refused(write(tmp_path / "m.onnx", data), "a Python pickle")
    assert not (tmp_path / "pickle-was-run").exists()


def test_other_known_files(tmp_path):
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    for data, found in [
        (array.getvalue(), "a NumPy array"),
        (b"\x80\x04\x95\x10joblib.numpy_pickle", "a joblib pickle"),
        (b"\x1f\x8b\x08" + bytes(20), "a gzip archive"),
        (bytes(257) + b"ustar" + bytes(300), "a tar archive"),
        (struct.pack("<Q", 100) + b'{"w":{"dtype"' + bytes(100), "a safetensors file"),
    ]:
        refused(write(tmp_path / "m.keras", data), "m.keras: this is " + found)


def test_zip_archives_of_other_tools(tmp_path):
    torch = archive(tmp_path / "m.keras", [("net/data.pkl", b"x"), ("net/version", b"3")])
    refused(torch, "a PyTorch checkpoint", "torch.export.save")
    arrays = io.BytesIO()
    np.savez(arrays, x=np.zeros(3))
    refused(write(tmp_path / "m.onnx", arrays.getvalue()), "a NumPy .npz archive", "Dataset.from_npz")


def test_folders_are_sized_and_checked(tmp_path):
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    write(folder / "saved_model.pb", b"abc")
    write(folder / "variables" / "data", b"12345")
    passed = gate.check(folder)
    assert (passed.is_folder, passed.size_bytes, passed.head) == (True, 8, b"")
    os.mkfifo(folder / "variables" / "pipe")
    refused(folder, "variables/pipe in it is not a regular file")


def test_a_folder_with_a_pointer_or_a_way_out(tmp_path):
    write(tmp_path / "secret", b"x")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "asset").symlink_to(tmp_path / "secret")
    refused(folder, "asset in it is a link that leaves the folder")
    (folder / "asset").unlink()
    write(folder / "saved_model.pb", POINTER)
    refused(folder, "saved_model.pb: this is a Git LFS pointer")


def test_a_folder_of_too_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(gate, "MAX_FOLDER_FILES", 3)
    for number in range(4):
        write(tmp_path / str(number), b"x")
    refused(tmp_path, "more than 3 files")


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (bytes(64), "nothing but zero bytes"),
        (b'{"error": "AccessDenied"}\nmore', 'the text \'{"error": "AccessDenied"}\''),
        (b"\x9a\x01\xff\x03" * 20, "the bytes 9a 01 ff 03 9a 01 ff 03"),
    ],
)
def test_unknown_content_in_words(head, words):
    assert words in gate.describe(head)
