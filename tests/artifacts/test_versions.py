"""Versions by digest, and the pointer that says which is served."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import deploykit as dk
from deploykit.cli.main import main
from deploykit.core.errors import ExportError, SettingError
from deploykit.testing.graphs import exported, graph, node, value


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """Three exported models that multiply by 2, 3 and 4."""
    found = []
    for factor in (2, 3, 4):
        inputs, outputs = [value("x", "float32", "N", 3)], [value("y", "float32", "N", 3)]
        folder = tmp_path_factory.mktemp(f"by{factor}")
        path = graph(folder, [node("Mul", ["x", "by"], ["y"])], inputs, outputs, by=np.array([factor], np.float32))
        found.append(exported(path, dk.Dataset.from_arrays(np.random.default_rng(0).normal(size=(64, 3)).astype("f4"))))
    return found


@pytest.fixture
def cli(capsys):
    """Runs the command line in this process: returns status, stdout, stderr."""

    def run(*arguments):
        status = main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def versions(artifacts, tmp_path):
    """A folder with all three; the first one is served."""
    found = dk.Versions(tmp_path / "by")
    for place, artifact in enumerate(artifacts):
        found.add(artifact, note=f"number {place}")
    return found


def test_the_first_is_served_and_each_is_kept_once(versions, artifacts):
    assert versions.serving == 1
    assert versions.add(artifacts[1]) == 2
    assert [row["version"] for row in versions.rows()] == [3, 2, 1]
    assert versions.artifact(2).digest == artifacts[1].digest
    assert versions.artifact().digest == artifacts[0].digest
    assert versions.artifact(3).problems() == []


def test_trial_promotion_and_rollback(versions):
    versions.try_out(2)
    assert (versions.serving, versions.pointer().shadow, versions.pointer().loaded) == (1, 2, (1, 2))
    versions.try_out(2, share=0.05)
    assert (versions.pointer().shadow, versions.pointer().canary, versions.pointer().share) == (0, 2, 0.05)
    assert versions.rollback() == 1
    assert versions.pointer().loaded == (1,)
    versions.promote(2)
    versions.promote(2)  # again: nothing
    assert (versions.serving, versions.pointer().previous, versions.pointer().loaded) == (2, 1, (1, 2))
    versions.settle()
    assert versions.pointer().loaded == (2,)
    assert versions.rollback() == 1
    with pytest.raises(SettingError, match="no version before version 1"):
        versions.rollback()


def test_what_is_not_kept_can_be_pruned_and_added_again(versions, artifacts):
    versions.promote(3)
    assert (versions.kept, versions.prunable) == ((1, 3), (2,))
    (versions.folder / "versions" / ".adding-left").mkdir()
    assert versions.prune() == (2,)
    assert versions.prunable == ()
    assert not list((versions.folder / "versions").glob(".adding-*"))
    assert {row["version"]: row["role"] for row in versions.rows()} == {3: "serving", 2: "removed", 1: "previous"}
    assert versions.add(artifacts[1]) == 4  # a number that is lower than what is served would never answer
    assert versions.artifact(4).problems() == []


def test_what_cannot_be_is_refused(versions, artifacts, tmp_path):
    with pytest.raises(SettingError, match=r"no version 9; there are 1, 2, 3"):
        versions.promote(9)
    versions.promote(2)
    with pytest.raises(SettingError, match="older than version 2"):
        versions.promote(1)
    with pytest.raises(SettingError, match="not newer than version 2"):
        versions.try_out(1)
    with pytest.raises(ExportError, match="holds no versions"):
        dk.Versions.open(tmp_path)
    (versions.path(3) / "model.onnx").write_bytes(b"changed")
    with pytest.raises(ExportError, match="was changed"):
        versions.add(artifacts[2])


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"releases": [{"number": 1, "digest": "../..", "added": 0}]}'])
def test_a_pointer_that_was_damaged_is_refused(tmp_path, content):
    (tmp_path / "state.json").write_bytes(content)
    with pytest.raises(ExportError, match=r"state\.json"):
        dk.Versions.open(tmp_path)


_ENDLESS = """
import sys, deploykit as dk
versions, artifacts = dk.Versions(sys.argv[1]), sys.argv[2:]
print("ready", flush=True)
while True:
    for path in artifacts:
        number = versions.add(path)
        if number == versions.serving:
            continue
        versions.try_out(number)
        versions.try_out(number, share=0.1)
        versions.promote(number)
        versions.prune()
"""


@pytest.mark.long(seconds=4)
def test_a_process_that_is_killed_leaves_a_pointer_to_what_is_complete(artifacts, tmp_path):
    """Killed at moments that its own progress decides: after so many changes of the folder."""
    folder = tmp_path / "by"
    dk.Versions(folder).add(artifacts[0])
    seen = set()
    for changes in range(6):
        command = [sys.executable, "-c", _ENDLESS, str(folder), *(str(a.path) for a in artifacts[1:])]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ})
        assert process.stdout.readline() == "ready\n"
        last, found = None, 0
        while found <= 7 * changes and process.poll() is None:
            now = (folder / "state.json").read_bytes()
            found, last = found + (now != last), now
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        versions = dk.Versions.open(folder)
        assert versions.artifact().problems() == []
        assert all(versions.path(number).is_dir() for number in versions.pointer().loaded)
        seen.add(versions.serving)
    assert len(seen) > 1
    assert json.loads((folder / "state.json").read_bytes())["serving"] == versions.serving


def test_the_command(cli, artifacts, tmp_path):
    folder = tmp_path / "by"
    for artifact in artifacts[:2]:
        assert cli("versions", folder, "--add", artifact.path, "--note", "by hand")[0] == 0
    assert cli("versions", folder, "--try", 2, "--canary", 0.1)[0] == 0
    assert dk.Versions(folder).pointer().share == 0.1
    assert cli("versions", folder, "--promote", 2)[0] == 0
    status, out, _ = cli("versions", folder, "--json")
    assert (status, json.loads(out)["serving"]) == (0, 2)
    assert "version 1 answers" in cli("versions", folder, "--rollback")[1]
    assert "removed: 2" in cli("versions", folder, "--prune")[1]
    assert cli("versions", folder, "--canary", 0.1)[0] == 2
    assert cli("versions", Path(folder).parent / "none")[0] == 1
