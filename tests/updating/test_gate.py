"""`dk.compare` on small models whose answers are known."""

import dataclasses
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

import deploykit as dk
from deploykit.cli.main import main
from deploykit.core.errors import DatasetError, ExportError, SettingError

CLASSES = 4


def looks_up(path, answers):
    """A model that answers example i, whose input is i, with the class answers[i]."""
    numbers = {"axis": [1], "first": 0, "last": len(answers) - 1}
    table = numpy_helper.from_array(np.eye(CLASSES, dtype=np.float32)[answers], "table")
    nodes = [
        helper.make_node("Cast", ["x"], ["place"], to=TensorProto.INT64),
        helper.make_node("Squeeze", ["place", "axis"], ["one"]),
        helper.make_node("Clip", ["one", "first", "last"], ["row"]),
        helper.make_node("Gather", ["table", "row"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", CLASSES])],
        [table, *(numpy_helper.from_array(np.array(value), name) for name, value in numbers.items())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """3,000 examples; an incumbent that is right on 90 %, an equal, a better, a worse and a broken challenger."""
    folder = tmp_path_factory.mktemp("gate")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 3000)
    wrong = (labels + 1) % CLASSES
    right = rng.permutation(np.arange(3000) % 10 != 0)
    flips = {"equal": (15, 15), "worse": (90, 0), "near": (30, 15)}
    answers = {"incumbent": np.where(right, labels, wrong), "broken": wrong}
    for name, (lost, won) in flips.items():
        kept = right.copy()
        kept[np.flatnonzero(right)[:lost]] = False
        kept[np.flatnonzero(~right)[:won]] = True
        answers[name] = np.where(kept, labels, wrong)
    paths = {name: looks_up(folder / f"{name}.onnx", values) for name, values in answers.items()}
    x = np.arange(3000, dtype=np.float32)[:, None]
    np.savez(folder / "data.npz", x=x, y=labels)
    return paths, dk.Dataset.from_arrays(x, labels), folder


@pytest.fixture(scope="module")
def built(desk):
    """All of them, ready to be compared."""
    paths, data, _ = desk
    return {name: dk.build(dk.load(path), dk.Recipe(()), data, target="onnxruntime") for name, path in paths.items()}


@pytest.fixture
def compared(desk, built):
    def compare(name, **options):
        return dk.compare(built["incumbent"], built[name], desk[1], split="all", **options)

    return compare


def test_verdicts_of_challengers_whose_answers_are_known(compared):
    equal = compared("equal")
    assert (equal.verdict, equal.better, equal.worse, bool(equal)) == ("ACCEPT", 15, 15, True)
    assert equal.incumbent.value == pytest.approx(0.9)
    assert equal.plan.examples == 3000
    worse = compared("worse")
    assert (worse.verdict, worse.worse, bool(worse)) == ("REGRESSION", 90, False)
    assert worse.drop.value == pytest.approx(0.03)
    near = compared("near")
    assert near.verdict == "INCONCLUSIVE"
    assert near.needed > 3000
    assert f"{near.needed:,} examples" in str(near)


def test_too_few_examples_are_infeasible_and_what_is_broken_is_still_seen(desk, built):
    _, data, _ = desk
    few = dk.Dataset.from_arrays(data.splits["test"].inputs["input"][:300], data.splits["test"].labels[:300])
    found = dk.compare(built["incumbent"], built["incumbent"], few, split="all")
    assert (found.verdict, found.plan.least) == ("INFEASIBLE", 596)
    assert found.needed == 2800  # what a drop of 2 % takes of which nothing is won back
    assert dk.compare(built["incumbent"], built["broken"], few, split="all").verdict == "REGRESSION"


def test_it_is_stated_before_a_model_runs(compared):
    said = []

    def stop(plan):
        said.append(plan)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compared("equal", stated=stop, expected_differing=0.02)
    assert said[0].needed == 3700
    assert "at most 1 % each" in str(said[0])
    assert dk.types.GatePlan.from_json(said[0].to_json()) == said[0]


def test_without_labels_answers_are_compared_with_the_incumbents(desk, built):
    _, data, _ = desk
    bare = dk.Dataset.from_arrays(np.concatenate([s.inputs["input"] for s in data.splits.values()]))
    found = dk.compare(built["incumbent"], built["worse"], bare, split="all")
    assert (found.metric, found.verdict, found.worse) == ("agreement", "REGRESSION", 90)
    assert found.notes


def test_an_artifact_brings_its_own_preparation(desk, tmp_path):
    paths, data, _ = desk
    shrunk = dk.Dataset.from_arrays(
        (data.splits["train"].inputs["input"] * 2).astype(np.float32),
        data.splits["train"].labels,
        preprocess=dk.Preprocess(scale=0.5),
    )
    built = dk.build(dk.load(paths["incumbent"]), dk.Recipe(()), shrunk, target="onnxruntime")
    artifact = dk.export(built, tmp_path / "served")
    x = np.concatenate([split.inputs["input"] for split in data.splits.values()])
    y = np.concatenate([split.labels for split in data.splits.values()])
    found = dk.compare(artifact, tmp_path / "served", dk.Dataset.from_arrays(2 * x, y), split="all")
    assert (found.verdict, found.worse, found.better) == ("ACCEPT", 0, 0)
    assert found.challenger.value == pytest.approx(0.9)
    assert found.challenger.digest == artifact.digest
    (tmp_path / "served" / "model.onnx").write_bytes(b"something else")
    with pytest.raises(ExportError, match=r"model.onnx has changed since the export"):
        dk.compare(artifact, artifact, data)


def test_numbers_get_a_relative_limit(compared):
    """Errors of 1.0 and 1.03: a limit of 10 % is kept, one of 1 % is not."""

    def distance(outputs, labels):
        off = outputs.argmax(axis=1) != labels
        return 1.0 + 0.3 * off

    distance.higher_is_better, distance.relative = False, True
    assert compared("equal", metric=distance, max_drop=0.01).verdict == "ACCEPT"
    assert compared("broken", metric=distance, max_drop=0.01).verdict == "REGRESSION"
    assert compared("broken", metric=distance, max_drop=0.5).verdict == "ACCEPT"


def test_bad_values_are_named(desk, tmp_path):
    paths, data, _ = desk
    for name, value in (("max_drop", 0), ("alpha", 1.0), ("power", True), ("launches", 1), ("max_latency_ms", -1)):
        with pytest.raises(SettingError, match=name):
            dk.compare(paths["incumbent"], paths["equal"], data, **{name: value})
    with pytest.raises(SettingError, match="did you mean 'held_out'"):
        dk.compare(paths["incumbent"], paths["equal"], data, split="heldout")
    with pytest.raises(SettingError, match="Expected a model to compare, got int"):
        dk.compare(paths["incumbent"], 3, data)
    with pytest.raises(DatasetError, match="the model takes examples of shape"):
        dk.compare(paths["incumbent"], paths["equal"], (np.zeros((700, 2), np.float32), np.arange(700) % 4))


# -- what is written --------------------------------------------------------------------------------------------------


def test_reports_for_people_and_ci_servers(compared, tmp_path):
    found = compared("worse")
    text = found.to_markdown(tmp_path / "new" / "gate.md")
    assert (tmp_path / "new" / "gate.md").read_text("utf-8") == text
    assert text.startswith("### REGRESSION: ")
    assert all(line.count("|") >= 3 for line in text.splitlines()[2:] if line)
    suite = ElementTree.fromstring(found.to_junit().encode())
    assert suite.attrib["failures"] == "1"
    assert suite.find("./testsuite/testcase/failure").attrib["type"] == "REGRESSION"
    data = found.to_json()
    assert json.loads(json.dumps(data))["verdict"] == "REGRESSION"
    assert "REGRESSION" in found._repr_html_()


def test_names_form_no_markup():
    from deploykit.updating.written import junit, markdown

    hostile = "]](x)<script>alert(1)</script>|\n@everyone \x00"
    assert "<script>" not in markdown(hostile, [("note", hostile)]).replace("\\<", "")
    assert len(markdown("s", [("note", hostile)]).splitlines()) == 5
    parsed = ElementTree.fromstring(junit("s", [("q", "REGRESSION", hostile)], hostile).encode())
    assert "<script>" in parsed.find(".//failure").attrib["message"]


def test_the_command_has_a_status_for_each_verdict(desk, tmp_path, capsys):
    paths, _, folder = desk
    flags = ["--data", str(folder / "data.npz"), "--split", "all"]
    gate = ["gate", str(paths["incumbent"])]
    assert main([*gate, str(paths["equal"]), *flags, "--markdown", str(tmp_path / "g.md")]) == 0
    out, err = capsys.readouterr()
    assert "ACCEPT: the challenger may take" in out
    assert "Beforehand: " in err
    assert (tmp_path / "g.md").exists()
    assert main([*gate, str(paths["worse"]), *flags, "--junit", str(tmp_path / "g.xml"), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["checks"][0]["verdict"] == "REGRESSION"
    assert (tmp_path / "g.xml").exists()
    assert main([*gate, str(paths["near"]), *flags]) == 4
    assert main([*gate, str(paths["incumbent"]), *flags, "--max-drop", "0.001"]) == 5
    assert main([*gate, str(folder / "gone.onnx"), *flags]) == 1


def test_the_examples_for_ci_are_yaml_with_commands_that_exist(capsys):
    page = Path(__file__).parents[2] / "docs" / "how-to" / "gate.md"
    github, gitlab = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", page.read_text("utf-8"), re.S))
    steps = [step.get("run", "") for step in github["jobs"]["gate"]["steps"]]
    commands = [c for c in (*steps, *gitlab["gate"]["script"]) if c.startswith("deploykit ")]
    assert len(commands) == 2
    assert gitlab["gate"]["allow_failure"]["exit_codes"] == 4
    assert main(["gate", "--help"]) == 0
    shown = capsys.readouterr().out
    for command in commands:
        assert command.split()[1] == "gate"
        for flag in re.findall(r"--[a-z-]+", command):
            assert flag in shown


# -- latency ----------------------------------------------------------------------------------------------------------


@pytest.mark.alone
@pytest.mark.long(seconds=4)
def test_a_latency_limit_far_above_and_one_far_below(compared):
    """A limit of ten seconds is kept; one of a nanosecond not even by the incumbent."""
    found = compared("equal", max_latency_ms=10_000, launches=2)
    assert [check.verdict for check in found.checks] == ["ACCEPT", "ACCEPT"]
    assert found.challenger.latency_ms.value > 0
    found = compared("equal", max_latency_ms=1e-6, launches=6, alpha=0.02)
    assert found.checks[1].verdict == "INFEASIBLE"
    assert found.verdict == "INFEASIBLE"


def test_examples_that_come_in_groups_are_counted_by_group(desk, built):
    _, data, _ = desk
    # All examples that differ are parts of a few groups of thirty.
    order = np.argsort(np.concatenate([s.inputs["input"][:, 0] for s in data.splits.values()]))

    def grouped(groups):
        sizes = np.cumsum([len(s) for s in data.splits.values()])[:-1]
        parts = dict(zip(data.splits, np.split(groups, sizes), strict=True))
        splits = {name: dataclasses.replace(split, groups=parts[name]) for name, split in data.splits.items()}
        return dataclasses.replace(data, splits=splits)

    rank = np.empty(3000, int)
    rank[order] = np.arange(3000)
    alone = dk.compare(built["incumbent"], built["equal"], grouped(rank), split="all")
    plain = dk.compare(built["incumbent"], built["equal"], data, split="all")
    assert (alone.verdict, alone.drop, alone.checks) == (plain.verdict, plain.drop, plain.checks)
    together = dk.compare(built["incumbent"], built["equal"], grouped(rank // 30), split="all")
    assert together.drop.value == alone.drop.value
    assert together.drop.high - together.drop.low > 1.5 * (alone.drop.high - alone.drop.low)
    assert together.verdict in ("INFEASIBLE", "INCONCLUSIVE")
    assert together.needed > 3000
    assert "3,000 examples of 100 videos" in str(together)
    worse = dk.compare(built["incumbent"], built["worse"], grouped(rank // 30), split="all")
    assert worse.drop.value == pytest.approx(0.03)
    assert worse.verdict != "ACCEPT"
    assert dk.compare(built["incumbent"], built["broken"], grouped(rank // 30), split="all").verdict == "REGRESSION"
