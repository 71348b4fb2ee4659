"""Request ids, the access log and what carries records to files."""

import json
import logging
import os
import subprocess
import sys
import threading
import time

import pytest

from deploykit.core.errors import SettingError
from deploykit.core.security.audit import verify_audit
from deploykit.serving.meter import Visit
from deploykit.serving.records.access import AccessLog, JsonFormatter, LogFile
from deploykit.serving.records.entry import Entry, iso, request_id, sane_id, sane_trace
from deploykit.serving.records.recorder import Act, Recorder, Sink
from deploykit.serving.records.settings import Recording


def entry(number=0, **more):
    """A prediction whose stages took 1, 2, 3 and 4 ms."""
    visit = Visit(10.0)
    visit.decoded, visit.began, visit.ended = 10.001, 10.003, 10.006
    visit.model, visit.version, visit.examples = "m", "2", 5
    given = {
        "id": f"id-{number}", "protocol": "rest_v2", "method": "POST", "path": "/v2/models/m/infer", "status": "200",
        "size": 7, "predicts": True, "token": "alice", "client": b"", "visit": visit, "ended": 10.010,
    }  # fmt: skip
    return Entry(**(given | more))


# -- ids --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [b"a", b"0123456789abcdef" * 8, b"req-1/2:3=4+5~6@x.y_z"])
def test_a_sane_id_is_kept(given):
    assert request_id(given) == given.decode()
    assert sane_id(given) == given


@pytest.mark.parametrize("given", [b"", b"a" * 129, b"a b", b'a"', b"a\n", b"\xc3\xa4", b"<script>", b"a,b", b"a;b"])
def test_any_other_is_replaced_by_one_of_its_own(given):
    assert sane_id(given) == b""
    made = {request_id(given) for _ in range(100)}
    assert len(made) == 100
    assert all(sane_id(one.encode()) for one in made)


def test_processes_make_different_ids():
    code = "from deploykit.serving.records.entry import request_id; print(request_id(b''))"
    asked = {subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)}
    assert len(asked) == 2


def test_a_trace_has_the_form_of_the_standard():
    given = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert sane_trace(given) == given
    wrong = (b"", b"x", given[:-1], given.upper(), b"ff" + given[2:], b"00-" + b"0" * 32 + given[35:], given + b"-x")
    assert {sane_trace(one) for one in wrong} == {b""}


# -- lines ------------------------------------------------------------------------------------------------------------


def test_json_has_an_object_in_each_line(tmp_path):
    log = AccessLog(tmp_path / "log", "json", 1 << 20)
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    unread = entry(2, status="408", protocol="http", method="", path="", token="", visit=Visit(10.0), predicts=False)
    log.write([entry(1, client=trace, path='/x\n"y" ü'), Act(action="load"), unread], 3)
    log.close()
    first, second, third = map(json.loads, (tmp_path / "log").read_text("utf-8").splitlines())
    assert first == {
        "time": iso(10.010), "request_id": "id-1", "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "protocol": "rest_v2", "method": "POST", "path": '/x\n"y" ü', "status": "200", "bytes": 7, "model": "m",
        "version": "2", "examples": 5, "token": "alice",
        "ms": {"decode": 1.0, "queue": 2.0, "run": 3.0, "encode": 4.0, "total": 10.0},
    }  # fmt: skip
    assert (second["status"], second["token"], second["ms"]) == ("408", "", {"total": 10.0})
    assert third["lost"] == 3


def test_text_has_a_line_for_each_whatever_was_asked_for(tmp_path):
    log = AccessLog(tmp_path / "log", "text", 1 << 20)
    log.write([entry(1, path="/x\n\x1b[31m" + "y" * 5000)], 0)
    log.close()
    (line,) = (tmp_path / "log").read_text("utf-8").splitlines()
    assert line.startswith(f"{iso(10.010)} id-1 rest_v2 POST /x\\n\\u001b[31myyy")
    assert line.endswith("… 200 7B m/2 alice ms: decode=1.000 queue=2.000 run=3.000 encode=4.000 total=10.000")
    assert len(line) < 800


def test_the_time_is_that_of_the_wall():
    now = time.strftime("%Y-%m-%dT%H:%M", time.gmtime())
    assert iso(time.perf_counter())[:16] in (now, time.strftime("%Y-%m-%dT%H:%M", time.gmtime()))


def test_the_servers_own_log_as_json():
    formatter = JsonFormatter()
    try:
        raise ValueError("a\nb")
    except ValueError:
        record = logging.getLogger("x").makeRecord("x", logging.ERROR, "", 0, "said %s", ("so",), sys.exc_info())
    text = formatter.format(record)
    assert "\n" not in text
    found = json.loads(text)
    assert (found["level"], found["logger"], found["message"]) == ("ERROR", "x", "said so")
    assert "ValueError: a\nb" in found["exception"]


# -- files ------------------------------------------------------------------------------------------------------------


def test_a_log_that_is_too_large_is_rotated_and_three_older_ones_are_kept(tmp_path):
    files = [LogFile(tmp_path / "log", 100) for _ in range(2)]
    for number in range(40):
        files[number % 2].write(b"%03d %s\n" % (number, b"x" * 25))
    found = sorted(p.name for p in tmp_path.iterdir() if p.suffix != ".lock")
    assert found == ["log", "log.1", "log.2", "log.3"]
    kept = b"".join((tmp_path / name).read_bytes() for name in ("log.3", "log.2", "log.1", "log"))
    numbers = [int(line.split()[0]) for line in kept.splitlines()]
    assert numbers == list(range(numbers[0], 40))  # nothing is lost between two files
    assert all((tmp_path / name).stat().st_size <= 100 for name in found)
    for file in files:
        file.close()


@pytest.mark.skipif(os.name == "nt", reason="files that are open cannot be renamed")
def test_another_program_may_rotate_it(tmp_path):
    file = LogFile(tmp_path / "log", 1 << 20)
    file.write(b"one\n")
    (tmp_path / "log").rename(tmp_path / "older")
    file.write(b"two\n")
    file.close()
    assert [(tmp_path / name).read_bytes() for name in ("older", "log")] == [b"one\n", b"two\n"]


class Slow(Sink):
    """Keeps what it gets; waits before it takes more."""

    def __init__(self):
        self.free, self.entered = threading.Event(), threading.Event()
        self.found, self.lost = [], 0

    def write(self, found, lost):
        self.entered.set()
        self.free.wait(60)
        self.found += found
        self.lost += lost


class Broken(Sink):
    def write(self, found, lost):
        raise OSError("the disk is full")


def test_who_adds_never_waits_and_what_is_too_much_is_counted():
    sink = Slow()
    recorder = Recorder([Broken(), sink], most=10)
    recorder.add(entry(0))
    assert sink.entered.wait(60)
    for number in range(1, 26):  # the sink is stuck: ten fit
        recorder.add(entry(number))
    sink.free.set()
    recorder.close()
    assert [one.id for one in sink.found] == [f"id-{n}" for n in range(11)]
    assert sink.lost == 15


# -- what is asked for ------------------------------------------------------------------------------------------------


def test_all_that_is_asked_for_is_recorded(tmp_path):
    asked = Recording.of(tmp_path / "access", "json", tmp_path / "audit", traces=False)
    recorder = Recording.from_json(json.loads(json.dumps(asked.to_json()))).recorder(1 << 20)
    turned_away = entry(2, status="401", predicts=False, token="", visit=Visit(10.0), path="/metrics")
    question = entry(3, predicts=False, visit=Visit(10.0), path="/v2")
    for one in (entry(1), turned_away, question, Act(action="load", model="m", token="root")):
        recorder.add(one)
    recorder.close()
    assert [json.loads(line)["request_id"] for line in (tmp_path / "access").read_text().splitlines()] == [
        "id-1", "id-2", "id-3",
    ]  # fmt: skip
    assert verify_audit(tmp_path / "audit").lines == 3
    first, second, third = map(json.loads, (tmp_path / "audit").read_text().splitlines())
    assert {k: first[k] for k in ("action", "token", "model", "version", "examples", "status", "request_id")} == {
        "action": "predict", "token": "alice", "model": "m", "version": "2", "examples": 5, "status": "200",
        "request_id": "id-1",
    }  # fmt: skip
    assert abs(first["at"] - (time.time() - time.perf_counter() + 10.010)) < 60
    assert (second["action"], second["status"], second["path"]) == ("ask", "401", "/metrics")
    assert (third["action"], third["model"], third["token"]) == ("load", "m", "root")


def test_nothing_is_recorded_unless_asked_for():
    assert Recording.of(None, "text", None, traces=False).recorder(1) is None


def test_what_cannot_be_recorded_is_refused_at_once(tmp_path):
    with pytest.raises(SettingError, match="The form of logs must be one of text, json, got 'xml'"):
        Recording.of(None, "xml", None, traces=False)
    with pytest.raises(SettingError, match="Cannot write the access log"):
        Recording.of(tmp_path / "no" / "log", "text", None, traces=False)
    with pytest.raises(SettingError, match="Cannot write the audit log"):
        Recording.of(None, "text", tmp_path / "no" / "log", traces=False)
