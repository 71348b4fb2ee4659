"""A tiny ONNX model and data for sweeps that need no TensorFlow."""

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.testing import models


@pytest.fixture(scope="session")
def onnx_model(tmp_path_factory):
    return dk.load(models.build("cnn_onnx", tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="session")
def images():
    rng = np.random.default_rng(0)
    return dk.Dataset.from_arrays(rng.random((400, 1, 8, 8)).astype(np.float32), rng.integers(0, 3, 400))


@pytest.fixture(scope="session")
def small_space():
    return dk.Space([Recipe((Step("quantize_dynamic"),)), Recipe((Step("quantize_static"),))], [Target("onnxruntime")])


@pytest.fixture(scope="session")
def swept(onnx_model, images, small_space, tmp_path_factory):
    """A finished sweep: (store, report, progress events)."""
    store = tmp_path_factory.mktemp("store") / "s"
    events = []
    report = dk.sweep(onnx_model, images, small_space, store=store, launches=2, progress=events.append)
    return store, report, events
