"""The folder of a process's logs goes when the process ends, however it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploykit.sandbox.scratch import PREFIX

#: Runs a task that prints, or fails, and prints what its children use.
_DRIVER = """
import json, os, signal, sys
from pathlib import Path
from deploykit.sandbox.supervisor import Supervisor
from deploykit.sandbox.task import Task
from deploykit.core.errors import DeploykitError
sys.path.append(sys.argv[1])
supervisor = Supervisor(method="spawn")
said = {"logs": str(supervisor.log_dir)}
supervisor.run(Task("faults:write", {"text": "hello"}))
said["written"] = (supervisor.log_dir / "light.log").read_text()
said["tmp"] = supervisor.run(Task("faults:temporary"))["folder"]
if sys.argv[2] == "error":
    try:
        supervisor.run(Task("faults:write", {}))
    except DeploykitError as error:
        said["log"] = error.log
print(json.dumps(said), flush=True)
if sys.argv[2] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "raise":
    raise RuntimeError
"""


def run(tmp_path, how):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", _DRIVER, str(Path(__file__).parent), how],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout)


def folders(tmp_path):
    return list(tmp_path.glob(f"{PREFIX}*"))


@pytest.mark.parametrize("how", ["end", "raise"])
def test_the_folder_goes_with_the_process(tmp_path, how):
    _status, said = run(tmp_path, how)
    assert "hello" in said["written"]
    assert Path(said["logs"]).is_relative_to(tmp_path)
    assert Path(said["tmp"]).is_relative_to(tmp_path)
    assert folders(tmp_path) == []


def test_the_folder_of_a_killed_process_goes_with_the_next(tmp_path):
    status, said = run(tmp_path, "kill")
    assert status == -signal.SIGKILL
    assert Path(said["tmp"]).exists()
    assert len(folders(tmp_path)) == 1
    run(tmp_path, "end")
    assert folders(tmp_path) == []


def test_a_log_that_an_error_names_stays_for_a_day(tmp_path):
    _status, said = run(tmp_path, "error")
    log = Path(said["log"])
    assert "KeyError" in log.read_text()
    assert not Path(said["tmp"]).exists()
    run(tmp_path, "end")
    assert log.exists()
    (folder,) = folders(tmp_path)
    os.utime(folder, (time.time() - 2 * 24 * 3600,) * 2)
    run(tmp_path, "end")
    assert folders(tmp_path) == []


def test_folders_of_living_processes_and_of_others_stay(tmp_path):
    (tmp_path / "another").mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "another")
    (tmp_path / f"{PREFIX}young").mkdir()  # as another process has just made it
    old = tmp_path / f"{PREFIX}old"  # as older versions left them
    old.mkdir()
    (old / "light.log").touch()
    os.utime(old, (1, 1))
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    waits = "from deploykit.sandbox.scratch import scratch; print(scratch(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", waits], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as living:
        folder = Path(living.stdout.readline().strip())
        run(tmp_path, "end")
        assert sorted(folders(tmp_path)) == sorted([folder, tmp_path / f"{PREFIX}link", tmp_path / f"{PREFIX}young"])
        living.communicate("\n")
    assert not folder.exists()
    assert (tmp_path / "another").exists()
