from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import deploykit as dk
from deploykit.testing import models

CLASSES = ("cat", "dog", "<b>owl</b>")


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.build("cnn_onnx", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def model(model_path: Path) -> dk.Model:
    return dk.load(model_path)


@pytest.fixture(scope="session")
def data() -> dk.Dataset:
    rng = np.random.default_rng(0)
    return dk.Dataset.from_arrays(
        rng.random((200, 1, 8, 8), np.float32), rng.integers(0, 3, 200), classes=CLASSES, calibration_size=20
    )


@pytest.fixture(scope="session")
def space() -> dk.Space:
    recipes = (dk.Recipe((dk.Step("quantize_static"),)),)
    return dk.Space(recipes, (dk.Target("onnxruntime"),))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, model: dk.Model, data: dk.Dataset, space: dk.Space) -> Path:
    """A finished sweep."""
    folder = tmp_path_factory.mktemp("store") / "runs"
    report = dk.sweep(model, data, space, store=folder, launches=2, progress=lambda _progress: None)
    assert [r.status for r in report.rows] == ["measured", "measured"]
    return folder


@pytest.fixture
def open_workbench(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Makes Workbenches that have settled, and closes them."""
    opened = []

    def make(*arguments: Any, **options: Any) -> Any:
        options = {"store": tmp_path / "runs", "launches": 2, **options}
        bench = dk.Workbench(*arguments, **options)
        opened.append(bench)
        assert bench._desk.settle()
        return bench

    yield make
    for bench in opened:
        bench.close()
