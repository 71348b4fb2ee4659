"""The Helm chart: its values fit its schema and its templates; `make proof` has Helm's own library render it."""

import json
import re

import jsonschema
import pytest
import yaml

from deploykit.exporters._export import export
from deploykit.exporters._kubernetes.chart import parts
from deploykit.exporters._verify import verify


@pytest.fixture(scope="module")
def artifact(cnn, tmp_path_factory):
    parameters = {"image": "registry.example.com:5000/team/shoes:1.2", "replicas": 3}
    folder = tmp_path_factory.mktemp("helm") / "out"
    return export(cnn, folder, layout="helm", name="Shoes_2", parameters=parameters)


@pytest.fixture(scope="module")
def chart(artifact):
    """Values and schema."""
    folder = artifact.path / "chart"
    schema = json.loads((folder / "values.schema.json").read_text("utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    return yaml.safe_load((folder / "values.yaml").read_text("utf-8")), jsonschema.Draft7Validator(schema)


def test_the_values_are_those_of_the_export_and_fit_their_schema(chart):
    values, schema = chart
    schema.validate(values)
    assert values["image"] == {
        "repository": "registry.example.com:5000/team/shoes", "tag": "1.2", "digest": "", "pullPolicy": "IfNotPresent",
    }  # fmt: skip
    assert values["autoscaling"]["minReplicas"] == 3


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"replicas": 0}, ["replicas"]),
        ({"unknown": 1}, []),
        ({"image": {"repository": ""}}, ["image", "repository"]),
        ({"resources": {"memory": "1Gi"}}, ["resources"]),
        ({"networkPolicy": {"enabled": "yes"}}, ["networkPolicy", "enabled"]),
    ],
)
def test_values_that_do_not_fit_are_refused(chart, change, where):
    values, schema = chart
    (error,) = schema.iter_errors(values | change)
    assert list(error.absolute_path) == where


def test_templates_use_all_values_and_no_others(artifact, chart):
    values, _ = chart
    text = "".join(p.read_text("utf-8") for p in (artifact.path / "chart" / "templates").iterdir())
    used = set(re.findall(r"\.Values\.([\w.]+)", text))
    for path in used:
        place = values
        for name in path.split("."):
            place = place[name]
    assert {path.partition(".")[0] for path in used} == set(values)
    assert "expression-" not in text


def test_the_chart_may_be_changed(artifact):
    about = yaml.safe_load((artifact.path / "chart" / "Chart.yaml").read_text("utf-8"))
    assert (about["name"], about["appVersion"]) == ("shoes-2", "1.2")
    file = artifact.path / "chart" / "values.yaml"
    file.write_text(file.read_text("utf-8") + "# mine\n")
    assert verify(artifact).ok


@pytest.mark.parametrize(
    ("image", "found"),
    [
        ("shoes", ("shoes", "latest", "")),
        ("localhost:5000/shoes", ("localhost:5000/shoes", "latest", "")),
        ("localhost:5000/shoes:1", ("localhost:5000/shoes", "1", "")),
        ("a/b@sha256:00", ("a/b", "", "sha256:00")),
        ("a/b:1@sha256:00", ("a/b", "1", "sha256:00")),
    ],
)
def test_parts_of_an_image(image, found):
    assert parts(image) == found
