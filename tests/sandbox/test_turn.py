"""Whose turn it is on a machine, with real processes: who waits for whom, what is said, and who cannot interfere."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

import deploykit
from deploykit.core.errors import Cancelled, EngineError
from deploykit.sandbox import turn_files
from deploykit.sandbox.turn import alone, together

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX locks and owners")
_HOLD = """
import sys, threading, time
from deploykit.sandbox import turn
with getattr(turn, sys.argv[1])(threading.Event(), lambda words: None):
    print("held", flush=True)
    time.sleep(600)
"""
_ROOT = hasattr(os, "getuid") and os.getuid() == 0
_NOBODY = 65534


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """A temporary folder and a home of their own, for this process and the ones it starts."""
    shared, home = tmp_path / "tmp", tmp_path / "home"
    shared.mkdir(mode=0o777)
    shared.chmod(0o1777)
    home.mkdir()
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(name, str(shared))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield shared, home / "cache"
    tempfile.tempdir = None


@pytest.fixture
def hold():
    """Start a process that holds the machine."""
    started = []

    def begin(kind, **options):
        process = subprocess.Popen(
            [sys.executable, "-c", _HOLD, kind], stdout=subprocess.PIPE, text=True, **options,
            env={**os.environ, "PYTHONPATH": str(Path(deploykit.__file__).parents[1])},
        )  # fmt: skip
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def waits(turn):
    """What is said while waiting; asserts that one does wait."""
    said, cancel = [], threading.Event()

    def say(words):
        said.append(words)
        cancel.set()

    with pytest.raises(Cancelled, match="Cancelled while waiting"), turn(cancel, say):
        pass
    return said[0]


def passes(turn):
    """Whether it is this process's turn at once."""
    with turn(threading.Event(), lambda words: pytest.fail(words)):
        return True


@pytest.mark.parametrize(
    ("holder", "waiting"), [("alone", alone), ("alone", together), ("together", alone)], ids=["aa", "at", "ta"]
)
def test_who_waits_is_told_for_whom_and_for_which_file(holder, waiting, hold, places):
    began = time.time()
    process = hold(holder)
    said = waits(waiting)
    assert said.startswith("waiting: ")
    assert f"process {process.pid}: {sys.executable} -c" in said
    assert time.strftime("%Y-%m-%d %H:", time.localtime(began)) in said
    assert f"lock {places[0] / f'deploykit-{os.getuid()}'}" in said
    process.kill()
    process.wait()
    assert passes(waiting), "a dead holder blocks no one"


def test_those_who_share_do_not_wait(hold):
    hold("together")
    assert passes(together)


def test_a_holder_that_is_stopped_is_said_to_be(hold):
    process = hold("alone")
    process.send_signal(signal.SIGSTOP)
    assert f"process {process.pid}, which is suspended" in waits(alone)


def test_threads_of_one_process_take_turns():
    with alone(threading.Event(), pytest.fail):
        assert f"process {os.getpid()}" in waits(alone)
        assert f"process {os.getpid()}" in waits(together)
    assert passes(alone)
    assert not list(turn_files.folder().glob("*.holder"))


def test_a_fork_that_outlives_its_holder_blocks_nobody(tmp_path):
    code = (
        "import os, sys, threading, time\nfrom deploykit.sandbox import turn\n"
        "with turn.alone(threading.Event(), lambda words: None):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n        time.sleep(600)\n"
        "    print(pid, flush=True)\n    os._exit(0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(deploykit.__file__).parents[1])}
    out = tmp_path / "pid"
    with out.open("w") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, env=environment, check=True)
    child = int(out.read_text())
    try:
        assert passes(alone)
    finally:
        os.kill(child, signal.SIGKILL)


# -- who cannot interfere ---------------------------------------------------------------------------------------------


def test_folder_and_files_are_the_users_own():
    assert passes(alone)
    folder = turn_files.folder()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


def test_an_open_folder_of_ones_own_is_closed(places):
    folder = places[0] / f"deploykit-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    assert passes(alone)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_what_is_in_the_way_is_not_used(places):
    shared, cache = places
    (shared / f"deploykit-{os.getuid()}").symlink_to(shared)
    assert passes(alone)
    assert turn_files.folder().is_relative_to(cache)
    assert not list(shared.glob("*.lock"))


def test_a_link_in_place_of_a_lock_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    turn_files.lock_file("gate").symlink_to(victim)
    with pytest.raises(EngineError, match=r"The lock file .*gate\.lock cannot be used"):
        passes(alone)
    assert not victim.exists()


def test_without_a_safe_place_it_is_refused_with_both_named(places):
    shared, cache = places
    (shared / f"deploykit-{os.getuid()}").write_text("")
    cache.parent.mkdir(exist_ok=True)
    cache.write_text("")
    with pytest.raises(EngineError, match=r"no safe folder .*tmp/deploykit-\d+: it is not a folder; .*cache") as caught:
        passes(alone)
    assert caught.value.remedy


@pytest.mark.skipif(not _ROOT, reason="only root can also be another user")
def test_what_belongs_to_another_user_is_not_used(places):
    folder = places[0] / f"deploykit-{os.getuid()}"
    folder.mkdir(mode=0o700)
    os.chown(folder, _NOBODY, _NOBODY)
    assert passes(alone)
    assert turn_files.folder().is_relative_to(places[1])


@pytest.mark.skipif(not _ROOT, reason="only root can also be another user")
def test_a_lock_file_of_another_user_is_refused():
    file = turn_files.lock_file("timing")
    file.touch(0o666)
    os.chown(file, _NOBODY, _NOBODY)
    with pytest.raises(EngineError, match=r"timing\.lock cannot be used: it belongs to another user \(uid 65534\)"):
        passes(alone)
