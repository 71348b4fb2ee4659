"""Adding an engine is one file: an installed package with an entry point is picked up everywhere."""

from pathlib import Path

import pytest

import deploykit as dk
from deploykit.testing.engines import EngineConformance

pytestmark = pytest.mark.alone


@pytest.fixture(autouse=True)
def installed(install):
    install(
        Path(__file__).parent / "example" / "one_by_one.py", "[deploykit.engines]\none_by_one = one_by_one:ADAPTER\n"
    )


class TestItsConformance(EngineConformance):
    @pytest.fixture
    def name(self):
        return "one_by_one"

    @pytest.fixture
    def address(self):
        return ""


def test_a_sweep_on_it_finds_what_a_local_one_finds(onnx_model, images, small_space, swept, tmp_path):
    report = dk.sweep(
        onnx_model, images, small_space, store=tmp_path / "s", engine="one_by_one", launches=2,
        progress=lambda _progress: None,
    )  # fmt: skip
    assert [r.status for r in report.rows] == ["measured"] * 3
    assert [r.artifact_digest for r in report.rows] == [r.artifact_digest for r in swept[1].rows]
    assert [r.measurement.scores for r in report.rows] == [r.measurement.scores for r in swept[1].rows]
