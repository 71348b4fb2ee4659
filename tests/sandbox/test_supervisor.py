"""Children that work, fail, crash, hang, grow and are orphaned, with both ways of starting them."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from deploykit.core import errors
from deploykit.sandbox.supervisor import Supervisor, default_method, shared
from deploykit.sandbox.task import Task, resolve

HERE = Path(__file__).parent
METHODS = ["fork", "spawn"] if sys.platform == "linux" else ["spawn"]


def until(condition, what, seconds=60.0):
    """Poll until a condition holds."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not happen in {seconds} s"
        time.sleep(0.02)
    return value


def gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture(scope="module", params=METHODS)
def supervisor(request, tmp_path_factory):
    made = Supervisor(tmp_path_factory.mktemp("logs"), request.param)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def tasks_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))


# -- work -----------------------------------------------------------------------------------------------------------


def test_a_result_comes_back_and_the_child_is_used_again(supervisor):
    first = supervisor.run(Task("faults:echo", {"text": "grüße", "numbers": [1, 2.5, None, True]}))
    assert first["text"] == "grüße"
    assert first["numbers"] == [1, 2.5, None, True]
    assert first["pid"] != os.getpid()
    assert supervisor.run(Task("faults:echo"))["pid"] == first["pid"]


def test_a_fresh_task_has_a_process_of_its_own(supervisor):
    pooled = supervisor.run(Task("faults:echo"))["pid"]
    fresh = supervisor.run(Task("faults:echo", fresh=True))["pid"]
    assert fresh != pooled
    until(lambda: gone(fresh), "the end of the fresh child")
    assert supervisor.run(Task("faults:echo"))["pid"] == pooled


def test_a_child_for_one_use_leaves_no_process_behind_and_imports_nothing(tmp_path):
    own = Supervisor(tmp_path)
    try:
        with own.once("light") as child:
            first, second = (child.call(Task("faults:imported")) for _ in range(2))
        assert first["pid"] == second["pid"] == child.pid
        assert not {"numpy", "onnx", "onnxruntime", "ai_edge_litert", "h5py"} & set(first["modules"])
        until(lambda: gone(child.pid), "the end of the child")
        assert own.start_seconds() == {}  # no parent
    finally:
        own.close()


def test_a_child_for_one_use_is_forked_where_the_modules_are_imported(supervisor):
    pooled = supervisor.run(Task("faults:imported"))
    with supervisor.once("light") as child:
        found = child.call(Task("faults:imported"))
    assert found["pid"] == child.pid != pooled["pid"]
    assert ("numpy" in found["modules"]) is (supervisor.method == "fork")


def test_progress_arrives_in_order(supervisor):
    seen = []
    supervisor.run(Task("faults:steps"), lambda *state: seen.append(state))
    assert seen == [(0, 3, "step 0"), (1, 3, "step 1"), (2, 3, "step 2")]


def test_the_child_is_in_the_group_that_was_asked_for(supervisor):
    loaded = supervisor.run(Task("faults:modules"))["loaded"]
    assert {"onnxruntime", "h5py"} <= set(loaded)
    assert "tensorflow" not in loaded


def test_modules_of_the_user_are_imported(supervisor, tmp_path, monkeypatch):
    (tmp_path / "my_layers.py").write_text("VALUE = 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert supervisor.run(Task("faults:custom", imports=("my_layers",)))["value"] == 42


def test_a_module_that_cannot_be_imported_is_named(supervisor):
    with pytest.raises(errors.SettingError, match=r"Cannot import 'no_such_layers' in a child.*sys\.path"):
        supervisor.run(Task("faults:echo", imports=("no_such_layers",)))


def test_two_tasks_run_at_the_same_time(supervisor, tmp_path):
    cancel = threading.Event()
    started = tmp_path / "started"
    caught = []

    def hang():
        try:
            supervisor.run(Task("faults:hang", {"started": str(started)}), cancel=cancel)
        except errors.Cancelled as error:
            caught.append(error)

    thread = threading.Thread(target=hang)
    thread.start()
    busy = int(until(lambda: started.exists() and started.read_text(), "the start of the hanging task"))
    assert supervisor.run(Task("faults:echo"))["pid"] != busy
    cancel.set()
    thread.join(60)
    assert len(caught) == 1
    assert gone(busy)


# -- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["UnsupportedModelError", "DatasetError", "MissingExtraError", "Cancelled"])
def test_error_types_cross_the_wire(supervisor, kind):
    with pytest.raises(getattr(errors, kind)) as caught:
        supervisor.run(Task("faults:fail", {"type": kind}))
    assert type(caught.value).__name__ == kind
    assert (caught.value.message, caught.value.remedy) == ("what was found.", "do this.")


def test_an_unforeseen_exception_is_one_line_and_its_traceback_is_in_the_log(supervisor, tmp_path):
    log = tmp_path / "logs" / "task.log"
    with pytest.raises(errors.CandidateError, match=r"^ZeroDivisionError: a line and another \(log: .*task\.log\)$"):
        supervisor.run(Task("faults:surprise", log=str(log)))
    assert "in surprise" in log.read_text()


def test_a_result_without_a_json_form_is_an_error(supervisor):
    with pytest.raises(errors.CandidateError, match=r"The task's result cannot be sent: object has no JSON form"):
        supervisor.run(Task("faults:odd_result"))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("segfault", r"The process died in a test: killed by SIGSEGV \(signal 11\)\. Remedy: see the log\."),
        ("leave", r"The process died in a test: exit status 3\."),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
def test_a_crash_names_its_signal(supervisor, function, message, tmp_path):
    log = tmp_path / "crash.log"
    with pytest.raises(errors.CandidateCrash, match=message) as caught:
        supervisor.run(Task(f"faults:{function}", log=str(log), name="a test"))
    assert caught.value.log == str(log)
    assert supervisor.run(Task("faults:echo", {"still": "alive"}))["still"] == "alive"


def test_a_child_that_hangs_up_is_ended(supervisor, monkeypatch):
    monkeypatch.setattr("deploykit.sandbox.handle._END_S", 0.2)
    with pytest.raises(errors.CandidateCrash, match=r"The process died in faults:hang_up: killed by SIGKILL"):
        supervisor.run(Task("faults:hang_up", deadline_s=60))
    assert supervisor.run(Task("faults:echo", {"still": "alive"}))["still"] == "alive"


@pytest.mark.parametrize("function", ["hang", "chatter"])
def test_a_task_that_never_ends_meets_its_deadline(supervisor, function, tmp_path):
    with pytest.raises(errors.CandidateTimeout, match=r"out after 1 s in faults:.*raise timeout="):
        supervisor.run(
            Task(f"faults:{function}", {"started": str(tmp_path / "started")}, deadline_s=1.0), lambda *_: None
        )


@pytest.mark.parametrize("function", ["hang", "chatter"])
def test_a_task_can_be_cancelled(supervisor, function, tmp_path):
    cancel = threading.Event()
    started = tmp_path / "started"
    timer = threading.Thread(
        target=lambda: (until(lambda: started.exists() or function == "chatter", "start"), cancel.set())
    )
    timer.start()
    with pytest.raises(errors.Cancelled, match=r"Cancelled during waiting"):
        supervisor.run(Task(f"faults:{function}", {"started": str(started)}, name="waiting"), cancel=cancel)
    timer.join()


def test_a_task_that_grows_is_killed(supervisor):
    limit = 900_000_000
    with pytest.raises(errors.CandidateMemory, match=r"Out of memory at .* GB in faults:grow \(limit 0\.9 GB\)"):
        supervisor.run(Task("faults:grow", memory_bytes=limit))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much of a process is mapped")
def test_a_task_may_read_files_larger_than_its_limit(supervisor, tmp_path):
    path, limit = tmp_path / "data", 400_000_000
    with path.open("wb") as file:
        file.truncate(1_000_000_000)  # holes take no space
    found = supervisor.run(Task("faults:read_mapped", {"path": str(path)}, memory_bytes=limit))
    assert found["resident"] > 2 * limit


def test_a_pooled_child_that_was_killed_is_replaced_without_a_word(supervisor):
    pid = supervisor.run(Task("faults:echo"))["pid"]
    psutil.Process(pid).kill()
    until(lambda: not any(c.usable for c in supervisor._idle["light"] if c.pid == pid), "the notice of its end")
    assert supervisor.run(Task("faults:echo"))["pid"] != pid


def test_the_parent_of_forks_is_replaced_when_it_was_killed():
    if default_method() != "fork":
        return  # nothing forks here
    made = Supervisor(method="fork")
    pid = made.run(Task("faults:echo"))["pid"]
    psutil.Process(pid).parent().kill()
    until(lambda: gone(pid), "the end of the orphaned child")
    until(lambda: not made._parents["light"].alive, "the notice of the parent's end")
    until(lambda: not any(c.usable for c in made._idle["light"]), "the notice of the child's end")
    assert made.run(Task("faults:echo"))["pid"] != pid
    made.close()


# -- logs and input -------------------------------------------------------------------------------------------------


def test_everything_a_task_writes_is_in_its_log(supervisor, tmp_path):
    log = tmp_path / "a.log"
    supervisor.run(Task("faults:write", {"text": "hello"}, log=str(log)))
    assert log.read_text().splitlines() == ["hello", "HELLO", "from a program: hello"]


def test_a_log_is_the_tasks_own(supervisor, tmp_path):
    one, other = tmp_path / "one.log", tmp_path / "other.log"
    supervisor.run(Task("faults:write", {"text": "first"}, log=str(one)))
    supervisor.run(Task("faults:write", {"text": "without"}))
    supervisor.run(Task("faults:write", {"text": "second"}, log=str(other)))
    assert "without" not in one.read_text() + other.read_text()
    assert "second" not in one.read_text()
    assert "without" in (supervisor.log_dir / "light.log").read_text()


def test_a_task_cannot_read_the_wire(supervisor):
    assert supervisor.run(Task("faults:read_input", deadline_s=60))["input"] == ""


# -- ends -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_no_process_outlives_a_killed_driver(tmp_path, method):
    command = [sys.executable, str(HERE / "faults.py"), str(tmp_path), method]
    driver = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    try:
        pids = json.loads(
            until(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text(), "two children")
        )
        family = {p.pid for p in psutil.Process(driver.pid).children(recursive=True)}
        assert set(pids) <= family
    finally:
        driver.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        driver.wait()
    for pid in family:
        until(lambda pid=pid: gone(pid), f"the end of process {pid}")


@pytest.mark.parametrize("method", METHODS)
def test_close_ends_every_process(tmp_path, method):
    made = Supervisor(tmp_path / "logs", method)
    made.run(Task("faults:echo"))
    made.warm("light")  # another one, still importing

    def ours():
        return [p for p in psutil.Process().children(recursive=True) if str(tmp_path) in " ".join(p.cmdline())]

    assert ours()
    made.close()
    assert not ours()


def test_one_supervisor_serves_the_whole_process():
    assert shared() is shared()


def test_only_public_functions_are_tasks():
    assert resolve("json:dumps")
    for function in ["json:_default_encoder", "json", "json:"]:
        with pytest.raises(errors.SettingError, match="Not a task function"):
            resolve(function)


# -- what stands still ------------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr("deploykit.sandbox.watching.STILL_S", 0.3)


def halt(pid):
    os.kill(pid, signal.SIGSTOP)
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, "the stop of a process")


needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")


@needs_signals
def test_a_child_that_is_stopped_is_noticed_long_before_its_deadline(supervisor, impatient, tmp_path):
    started = tmp_path / "started"
    stopper = threading.Thread(
        target=lambda: halt(int(until(lambda: started.exists() and started.read_text(), "the start")))
    )
    stopper.start()
    with pytest.raises(errors.ProcessLost, match=r"was suspended from outside in a test \(SIGSTOP\) and not resumed"):
        supervisor.run(Task("faults:hang", {"started": str(started)}, name="a test", deadline_s=3600.0))
    stopper.join()
    assert gone(int(started.read_text()))
    assert supervisor.run(Task("faults:echo", {"still": "alive"}))["still"] == "alive"


@needs_signals
def test_a_child_that_was_continued_goes_on(supervisor, monkeypatch):
    monkeypatch.setattr("deploykit.sandbox.watching.STILL_S", 60.0)
    child = supervisor.child("light")
    try:
        halt(child.pid)
        threading.Timer(0.5, lambda: os.kill(child.pid, signal.SIGCONT)).start()
        assert child.call(Task("faults:echo", {"text": "late"}))["text"] == "late"
    finally:
        child.close()


@needs_signals
def test_a_large_message_to_a_stopped_child_does_not_wait_for_ever(supervisor, impatient):
    child = supervisor.child("light")
    child.call(Task("faults:echo"))
    halt(child.pid)
    with pytest.raises(errors.ProcessLost):
        child.call(Task("faults:echo", {"text": "x" * 8_000_000}, deadline_s=3600.0))
    assert gone(child.pid)


@needs_signals
def test_an_idle_child_that_was_stopped_is_replaced_without_a_word(supervisor):
    pid = supervisor.run(Task("faults:echo"))["pid"]
    halt(pid)
    assert supervisor.run(Task("faults:echo"))["pid"] != pid
    assert gone(pid)


@pytest.fixture
def forking(tmp_path):
    if default_method() != "fork":
        pytest.skip("nothing forks here")
    made = Supervisor(tmp_path / "logs", "fork")
    yield made
    made.close()


def test_a_stopped_parent_of_forks_is_replaced_without_a_word(forking, impatient):
    pid = forking.run(Task("faults:echo", fresh=True))["pid"]
    parent = forking._parents["light"]._process.pid
    halt(parent)
    assert forking.run(Task("faults:echo", fresh=True))["pid"] != pid
    assert forking._parents["light"]._process.pid != parent
    until(lambda: gone(parent), "the end of the stopped parent")


def test_a_stopped_parent_does_not_hold_up_a_deadline(forking, impatient, tmp_path):
    started = tmp_path / "started"

    def stop_parent():
        until(lambda: started.exists() and started.read_text(), "the start")
        halt(forking._parents["light"]._process.pid)

    stopper = threading.Thread(target=stop_parent)
    stopper.start()
    with pytest.raises(errors.CandidateTimeout, match=r"out after 2 s"):
        forking.run(Task("faults:hang", {"started": str(started)}, deadline_s=2.0))
    stopper.join()
    assert forking.run(Task("faults:echo", {"still": "alive"}))["still"] == "alive"


def test_a_parent_that_cannot_start_says_so_and_names_its_log(forking, monkeypatch):
    monkeypatch.setattr(
        "deploykit.sandbox.forking.environment", lambda _group: {"PATH": os.environ["PATH"], "PYTHONHOME": "/"}
    )
    with pytest.raises(errors.ProcessLost, match=r"The process that imports what light tasks need died") as caught:
        forking.run(Task("faults:echo"))
    assert caught.value.log.endswith("light.log")


def test_the_start_of_a_parent_can_be_cancelled(forking):
    cancel = threading.Event()
    forking.warm("light")
    halt(forking._parents["light"]._process.pid)
    cancel.set()
    with pytest.raises(errors.Cancelled, match="while a process was started"):
        forking.run(Task("faults:echo"), cancel=cancel)


# -- what a log says --------------------------------------------------------------------------------------------------


@needs_signals
@pytest.mark.parametrize(("function", "deadline_s"), [("hang", 1.0), ("segfault", 60.0)])
def test_the_log_says_where_a_task_was_ended(supervisor, function, deadline_s, tmp_path):
    log, started = tmp_path / "end.log", {"started": str(tmp_path / "started")}
    with pytest.raises(errors.CandidateError):
        supervisor.run(Task(f"faults:{function}", started, deadline_s=deadline_s, log=str(log)))
    assert f"in {function}" in log.read_text()


def test_the_log_has_the_traceback_of_our_own_errors_and_of_their_causes(supervisor, tmp_path):
    log = tmp_path / "task.log"
    with pytest.raises(errors.CandidateError, match="it failed"):
        supervisor.run(Task("faults:wrapped", log=str(log)))
    text = log.read_text()
    assert "in wrapped" in text
    assert "KeyError: 'the cause'" in text
