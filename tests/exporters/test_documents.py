"""The card and the bill of materials that every artifact carries."""

import dataclasses
import hashlib
import importlib.metadata
import json
import re

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from deploykit.core.candidate import Candidate, Recipe
from deploykit.core.class_change import ClassChange
from deploykit.core.result import Interval, Latency, Measurement, Result, Score
from deploykit.exporters._documents.packages import closure
from deploykit.exporters._export import export

CHANGE = Interval(-0.0182, -0.031, -0.0054)
SCORE = Score("accuracy", 0.9, CHANGE, Interval(0.0182, 0.0054, 0.031), 22)
TIMES = Latency(
    Interval(0.05, 0.048, 0.053), 0.06, None, Interval(2.5, 2.4, 2.6), None, 0.05, 5, 4000, 0.02, claim="faster"
)
CLASSES = (
    ClassChange(2, "sh|rt", 9, 1.0, 7 / 9, Interval(-2 / 9, -0.5, 0.0), 0, 2, 0.5, sure=True),
    ClassChange(0, "boot", 13, 1.0, 1.0, Interval(0.0, 0.0, 0.0), 0, 0, 1.0),
)


@pytest.fixture(scope="module")
def made(cnn, tmp_path_factory):
    """An artifact of a candidate that was measured."""
    environment = {"cpu": "Some CPU", "cores": 2, "machine": "x86_64", "system": "Linux"}
    measured = Measurement((SCORE,), TIMES, 1234, 999, environment=environment, flips=(3, 7))
    row = Result("k", Candidate(Recipe(), cnn.target), "measured", "original", "original", measurement=measured)
    chosen = dataclasses.replace(cnn, result=row, by_class=lambda: CLASSES)
    return export(chosen, tmp_path_factory.mktemp("documents") / "out", license="Apache-2.0")


def test_the_card_holds_the_figures(made):
    text = (made.path / "MODEL_CARD.md").read_text("utf-8")
    assert "- License: Apache-2.0" in text
    # 0.9182 before: the value minus its change.
    assert "| accuracy | evaluation | 22 | 0.9182 | 0.9 | -0.0182 [-0.0310, -0.0054] |" in text
    assert "2 of 22 answers on the evaluation split differ" in text
    assert r"| sh\|rt | 9 | 1.000 | 0.778 | -0.2222 [-0.5000, +0.0000] | yes |" in text
    assert "1 of 2 are." in text
    assert "median 0.05 ms [0.048, 0.053]" in text
    assert "2.5× [2.4, 2.6] as fast, confirmed to be faster" in text
    assert "Some CPU, x86_64, Linux, 2 cores" in text
    assert "a loss of up to 3.1 percentage points cannot be ruled out" in text
    assert "The choice was not confirmed on the test split." in text


def test_the_card_says_what_is_not_known(cnn, tmp_path):
    text = (export(cnn, tmp_path / "out").path / "MODEL_CARD.md").read_text("utf-8")
    assert "- License: not stated" in text
    assert "It was built without being measured." in text
    assert "By class" not in text


def test_the_bill_is_valid_and_names_what_is_there(made):
    text = (made.path / "bom.cdx.json").read_text("utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    model = bill["metadata"]["component"]
    assert model["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(made.model_path.read_bytes()).hexdigest()}]
    assert model["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert "timestamp" not in bill["metadata"]
    found = {c["name"]: c["version"] for c in bill["components"]}
    assert found.pop("deploykit").endswith("+server")
    assert found == {name: importlib.metadata.version(name) for name in found}
    assert found.keys() >= {"numpy", "onnxruntime", "protobuf", "grpcio", "orjson"}
    assert not found.keys() & {"tensorflow", "jupyterlab", "pandas"}
    needs = {d["ref"]: d.get("dependsOn", []) for d in bill["dependencies"]}
    assert "package:onnxruntime" in needs["model"]
    wanted = {re.split(r"[^\w.-]", r)[0] for r in importlib.metadata.requires("onnxruntime") if "extra ==" not in r}
    assert set(needs["package:onnxruntime"]) == {f"package:{name}" for name in wanted}


def test_the_same_export_gives_the_same_documents(made, cnn, tmp_path):
    again = [export(cnn, tmp_path / name) for name in ("a", "b")]
    for name in ("MODEL_CARD.md", "bom.cdx.json"):
        assert (again[0].path / name).read_bytes() == (again[1].path / name).read_bytes()
    serials = {json.loads((a.path / "bom.cdx.json").read_text())["serialNumber"] for a in (made, *again)}
    assert len(serials) == 2


def test_packages_that_are_not_installed_are_named():
    assert closure(["papyrus-of-nowhere==1"])["papyrus-of-nowhere"].version == ""
