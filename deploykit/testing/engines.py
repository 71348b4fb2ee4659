"""What every engine must do. A test module derives from `EngineConformance` and parametrizes it with the registry."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploykit.core.errors import Cancelled, CandidateError, DatasetError, SettingError
from deploykit.engines._contract import ENGINES, Host, Running, find
from deploykit.sandbox.task import Report, Task

_LONGEST_S = 120.0
_SPAN_S = 0.2


# -- tasks ------------------------------------------------------------------------------------------------------------


def add(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: a sum."""
    del report
    return {"sum": sum(arguments["numbers"])}


def shout(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: write a file with the text of another one in capitals."""
    del report
    Path(arguments["target"]).write_text(Path(arguments["source"]).read_text("utf-8").upper(), "utf-8")
    return {}


def refuse(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: raise an error of deploykit's."""
    raise DatasetError(arguments["message"], remedy=arguments["remedy"])


def die(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: end the process as a crash in native code does."""
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def wait(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: report that it runs, then sleep for an hour."""
    report(0.0, 1.0, "waiting")
    time.sleep(3600)
    return {}


def span(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: take a while; where and when."""
    began = time.time()
    time.sleep(_SPAN_S)
    return {"machine": platform.node(), "began": began, "ended": time.time()}


def span_alone(arguments: dict[str, Any], report: Report, host: Host) -> dict[str, Any]:
    """Whole-machine task: the same, with the result of a child of that machine's supervisor."""
    child = host.supervisor.run(Task("deploykit.testing.engines:add", {"numbers": [1, 2]}), cancel=host.cancel)
    return {**span(arguments, report), "child": child["sum"]}


def _task(function: str, arguments: dict[str, Any] | None = None, **options: Any) -> Task:
    """One that an engine which measures elsewhere does not run here."""
    options = {"on_target": True, **options}
    return Task(f"deploykit.testing.engines:{function}", arguments or {}, name=function, **options)


class EngineConformance:
    """Derive, and give fixtures ``name`` (an engine) and ``address`` (what its `start` takes, for example ``""``)."""

    @staticmethod
    @contextlib.contextmanager
    def running(name: str, address: Any, cancel: threading.Event | None = None) -> Iterator[Running]:
        """The engine at work."""
        with ENGINES.get(name).start(address, cancel or threading.Event()) as found:
            yield found

    def test_facts(self, name: str) -> None:
        """Declared facts are complete, and no other engine has its name or its schemes."""
        engine = ENGINES.get(name)
        assert engine.label
        assert engine.help.endswith(".")
        assert not engine.missing()
        others = [e for e in ENGINES.all() if e is not engine]
        assert not {name, *engine.schemes} & {word for e in others for word in (e.name, *e.schemes)}
        assert not engine.takes(object())

    def test_it_is_found_by_name_and_scheme(self, name: str) -> None:
        """What follows its name is the address; an address of a scheme of its own is passed whole."""
        engine = ENGINES.get(name)
        assert find(name) == (engine, "")
        assert find(f"{name}://some.where:1") == (engine, "some.where:1")
        for scheme in engine.schemes:
            assert find(f"{scheme}://some.where:1") == (engine, f"{scheme}://some.where:1")

    def test_an_engine_without_workers_says_so(self, name: str) -> None:
        """Asking it to be one is refused by name."""
        if ENGINES.get(name).has_workers:
            return
        try:
            ENGINES.get(name).work("", 1, [], "")
        except SettingError as error:
            assert name in str(error)  # noqa: PT017  the package does not depend on pytest
        else:
            raise AssertionError("it was a worker")

    def test_results_come_back(self, name: str, address: Any) -> None:
        """Of more tasks than there are slots, each to its own future."""
        with self.running(name, address) as engine:
            assert engine.slots >= 1
            engine.warm("light")
            tasks = [_task("add", {"numbers": [i, 1]}) for i in range(2 * engine.slots + 1)]
            futures = [engine.submit(task) for task in tasks]
            assert [f.result(_LONGEST_S)["sum"] for f in futures] == [i + 1 for i in range(len(tasks))]

    def test_what_is_built_comes_back_as_well(self, name: str, address: Any) -> None:
        """Wherever the engine does it."""
        with self.running(name, address) as engine:
            assert engine.submit(_task("add", {"numbers": [4, 5]}, on_target=False)).result(_LONGEST_S) == {"sum": 9}

    def test_files_are_brought_there_and_back(self, name: str, address: Any, tmp_path: Path) -> None:
        """What a task reads and writes is named in its arguments, and lies here afterwards."""
        source, target = tmp_path / "source.txt", tmp_path / "target.txt"
        source.write_text("grün", "utf-8")
        paths = {"source": str(source), "target": str(target)}
        with self.running(name, address) as engine:
            engine.submit(_task("shout", paths, reads=(str(source),), writes=(str(target),))).result(_LONGEST_S)
        assert target.read_text("utf-8") == "GRÜN"

    def test_errors_come_back_as_they_were_raised(self, name: str, address: Any) -> None:
        """With their type, message and remedy; the engine keeps working."""
        words = {"message": "The data are odd.", "remedy": "even them out."}
        with self.running(name, address) as engine:
            found = engine.submit(_task("refuse", words)).exception(_LONGEST_S)
            assert type(found) is DatasetError
            assert (found.message, found.remedy) == tuple(words.values())
            assert engine.submit(_task("add", {"numbers": [2]})).result(_LONGEST_S) == {"sum": 2}

    def test_a_crash_costs_its_own_task_only(self, name: str, address: Any) -> None:
        """The child's death is an error of the candidate; the others' results come."""
        with self.running(name, address) as engine:
            dead = engine.submit(_task("die"))
            alive = [engine.submit(_task("add", {"numbers": [i]})) for i in range(4)]
            assert isinstance(dead.exception(_LONGEST_S), CandidateError)
            assert [f.result(_LONGEST_S)["sum"] for f in alive] == [0, 1, 2, 3]

    def test_a_whole_machine_task_is_alone_there(self, name: str, address: Any) -> None:
        """No other task of the engine runs on its machine meanwhile; it has a supervisor of its own."""
        with self.running(name, address) as engine:
            before = [engine.submit(_task("span")) for _ in range(engine.slots + 1)]
            alone = engine.exclusive(_task("span_alone"))
            after = [engine.submit(_task("span")) for _ in range(engine.slots + 1)]
            own = alone.result(_LONGEST_S)
            others = [f.result(_LONGEST_S) for f in (*before, *after)]
        assert own["child"] == 3
        assert len(others) >= 4
        for other in others:
            apart = other["ended"] <= own["began"] or own["ended"] <= other["began"]
            assert apart or other["machine"] != own["machine"]

    def test_facts_of_machines_are_stable(self, name: str, address: Any) -> None:
        """They key measurements: plain JSON, the same whenever they are asked for."""
        with self.running(name, address) as engine:
            engine.require({"cpu"})
            first, again = (json.dumps(engine.facts("cpu"), sort_keys=True) for _ in range(2))
            assert json.loads(first)
            assert again == first

    def test_cancelling_ends_what_runs(self, name: str, address: Any) -> None:
        """A task that has reported that it runs, and would sleep for an hour."""
        cancel, runs, said = threading.Event(), threading.Event(), []

        def hear(*report: Any) -> None:
            said.append(report)
            runs.set()

        with self.running(name, address, cancel) as engine:
            future = engine.submit(_task("wait"), hear)
            assert runs.wait(_LONGEST_S)
            cancel.set()
            assert isinstance(future.exception(_LONGEST_S), Cancelled)
        assert said[0] == (0.0, 1.0, "waiting")
