"""What all verbs have in common: help, exit status, errors."""

import os
import re
import subprocess
import sys

import pytest

from deploykit.cli import main as module
from deploykit.cli.main import VERBS, main
from deploykit.core.registry import registry


def test_help_lists_every_verb(cli):
    status, out, _ = cli("--help")
    assert status == 0
    assert re.findall(r"^    (\w+)(?: |$)", out, re.MULTILINE) == list(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(cli, verb):
    status, out, _ = cli(verb, "--help")
    assert status == 0
    assert "--json" in out
    assert "--debug" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: VERB"),
        (["inspct"], "invalid choice: 'inspct'"),
        (["inspect"], "the following arguments are required: MODEL"),
        (["inspect", "m.onnx", "--jsn"], "unrecognized arguments: --jsn"),
        (["plan", "m.onnx"], "the following arguments are required: --data"),
        (["plan", "m.onnx", "--data", "d.npz", "--scale", "half"], "'half' is not a number such as 0.5 or 1/255"),
        (["plan", "m.onnx", "--data", "d.npz", "--scale", "1/0"], "'1/0' is not a number"),
        (["plan", "m.onnx", "--data", "d.npz", "--reshape", "a,b"], "'a,b' is not a list of whole numbers"),
        (["sweep", "m.onnx", "--data", "d.npz", "--metric", "acuracy"], "invalid choice: 'acuracy'"),
        (["export", "runs", "--out", "x", "--layout", "zip"], "invalid choice: 'zip'"),
        (["demo", "-p", "launches"], "'launches' is not NAME=VALUE"),
        (["serve", "m", "--port", "1", "--port=2"], "argument --port: given twice, with 1 and 2; expected it once"),
        (["serve", "m", "--label", "x=1", "--label", "x=2"], "argument --label: 'x' is given twice, with 1 and 2"),
        (["serve", "m", "--limit", "waiting=1", "--limit", "waiting=1"], "argument --limit: 'waiting' is given twice"),
        (["serve", "m", "--label", "x=²"], "expected LABEL=VERSION, got 'x=²'"),
        (["serve", "m", "--versions", "1,,2"], "expected numbers separated by single commas, got '1,,2'"),
        (["export", "runs", "--out", "x", "--set", "a=1", "--set", "a=2"], "argument --set: 'a' is given twice"),
        (["batch", "n", "-p", "a", "1", "-p", "a", "2"], "argument -p/--parameter: 'a' is given twice, with 1 and 2"),
    ],
)
def test_wrong_usage_is_status_2(cli, arguments, message):
    status, out, err = cli(*arguments)
    assert status == 2
    assert message in err
    assert out == ""


def test_an_error_is_one_line_on_stderr_and_status_1(cli, tmp_path):
    status, out, err = cli("inspect", tmp_path / "nothing.onnx")
    assert status == 1
    assert out == ""
    assert err.startswith("deploykit: ")
    assert "nothing.onnx" in err
    assert err.count("\n") == 1


def test_debug_shows_the_traceback(cli, tmp_path):
    status, _, err = cli("inspect", tmp_path / "nothing.onnx", "--debug")
    assert status == 1
    assert "Traceback (most recent call last)" in err
    assert "ModelFileError" in err


@pytest.mark.parametrize(
    ("error", "message", "status"),
    [
        (ZeroDivisionError("by\nzero"), "deploykit: unexpected ZeroDivisionError: by zero. --debug shows where.\n", 1),
        (PermissionError(13, "Permission denied", "/out/x.html"), "deploykit: /out/x.html: Permission denied.\n", 1),
        (KeyboardInterrupt(), "deploykit: interrupted.\n", 130),
    ],
)
def test_other_errors_are_one_line_too(cli, monkeypatch, error, message, status):
    import deploykit.cli.doctor

    def fail(options):
        raise error

    monkeypatch.setattr(deploykit.cli.doctor, "run", fail)
    assert cli("doctor") == (status, "", message)


def test_choices_come_from_the_registries(cli):
    for verb, package, what in [("export", "exporters", "layout"), ("sweep", "metrics", "metric")]:
        _, out, _ = cli(verb, "--help")
        for name in registry(f"deploykit.{package}", what).names():
            assert name in out


def test_help_names_the_settings_of_every_technique(cli):
    _, out, _ = cli("plan", "--help")
    for technique in registry("deploykit.transforms", "technique").all():
        assert f"\n  {technique.name} " in out
        for parameter in technique.parameters:
            assert f"{parameter.name}: " in out


def test_a_closed_pipe_is_no_error(desk):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "deploykit", "inspect", str(desk / "net.onnx")]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_python_minus_m():
    done = subprocess.run([sys.executable, "-m", "deploykit", "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"deploykit \d+\.\d+\.\d+\n", done.stdout)


def test_only_the_chosen_verb_looks_up_its_choices(monkeypatch, capsys):
    """Otherwise every start would list every registry."""
    asked = []
    monkeypatch.setattr(module.importlib.import_module("deploykit.cli.export"), "arguments", asked.append)
    assert main(["report", "--help"]) == 0
    assert not asked
