import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.errors import DeploykitError

CLASSES = ("cat", "dog", "<b>owl</b>")


@pytest.fixture(scope="session")
def model_path(zoo: Callable[[str], Path]) -> Path:
    return zoo("cnn_onnx")


@pytest.fixture(scope="session")
def model(model_path: Path) -> dk.Model:
    return dk.load(model_path)


@pytest.fixture(scope="session")
def data() -> dk.Dataset:
    rng = np.random.default_rng(0)
    return dk.Dataset.from_arrays(
        rng.random((200, 1, 8, 8), np.float32), rng.integers(0, 3, 200), classes=CLASSES, calibration_size=20
    )


@pytest.fixture(scope="session")
def space() -> dk.Space:
    recipes = (dk.Recipe((dk.Step("quantize_static"),)),)
    return dk.Space(recipes, (dk.Target("onnxruntime"),))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, model: dk.Model, data: dk.Dataset, space: dk.Space) -> Path:
    """A finished sweep."""
    folder = tmp_path_factory.mktemp("store") / "runs"
    report = dk.sweep(model, data, space, store=folder, launches=2, progress=lambda _progress: None)
    assert [r.status for r in report.rows] == ["measured", "measured"]
    return folder


@pytest.fixture
def open_workbench(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Makes Workbenches that have settled, and closes them."""
    opened = []

    def make(*arguments: Any, **options: Any) -> Any:
        options = {"store": tmp_path / "runs", "launches": 2, **options}
        bench = dk.Workbench(*arguments, **options)
        opened.append(bench)
        assert bench._desk.settle()
        return bench

    yield make
    for bench in opened:
        bench.close()


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Any]:
    """What buttons do, on a desk whose errors fail the test."""
    from deploykit_widgets.actions.commands import Commands
    from deploykit_widgets.desk import Desk
    from deploykit_widgets.state import State

    errors: list[BaseException] = []
    desk = Desk(errors.append)
    made = Commands(State(tmp_path / "runs", options={"launches": 2}), desk)
    yield made
    made.close()
    desk.close()
    assert errors == []


@pytest.fixture
def ask(commands: Any) -> Callable[..., Any]:
    """Asks a section as the browser does: what it answers as JSON, and bytes beside it."""
    from deploykit_widgets.answers import Later, Reply

    def send(section: Any, command: str, **arguments: Any) -> tuple[Any, list[bytes]]:
        found: list[Any] = []

        def do() -> None:
            try:
                found.append(section.commands()[command](**arguments))
            except DeploykitError as error:
                found.append(error)

        commands.desk.post(do)
        assert commands.desk.settle()
        (answer,) = found
        if isinstance(answer, Exception):
            raise answer
        answer = answer.work() if isinstance(answer, Later) else answer
        reply = answer if isinstance(answer, Reply) else Reply(answer)
        return json.loads(json.dumps(reply.value)), list(reply.buffers)

    return send


@pytest.fixture
def tab(commands: Any) -> Callable[[str], dict[str, Any]]:
    """The tab as the browser gets it."""
    from deploykit_widgets.sections.app import AppSection

    app = AppSection(commands)
    return lambda name: next(tab for tab in app.value()["tabs"] if tab["name"] == name)


@pytest.fixture
def finished(commands: Any, store: Path, model: dk.Model, data: dk.Dataset) -> Any:
    """The same, with model, data and the report of a finished sweep."""
    commands.desk.post(lambda: commands.state.change(model=model, data=data, report=dk.Report.open(store)))
    assert commands.desk.settle()
    return commands


class Page:
    """A page of the browser: what it has got, and what it asks for.

    Args:
        surface: Whose messages it takes.
        desk: Who must have settled before anything is looked at.
        hub: Where the surface is to be added; None when it is there, then the page asks for everything.
    """

    def __init__(self, surface: Any, desk: Any, hub: Any = None) -> None:
        self.surface, self._desk = surface, desk
        self.messages: list[tuple[dict[str, Any], list[bytes]]] = []
        self.sections: dict[str, Any] = {}
        self.rows: dict[str, Any] = {}
        surface.send = self._receive
        if hub is None:
            surface._handle_custom_msg({"type": "hello"}, [])
        else:
            hub.add(surface)
        assert desk.settle()

    def _receive(self, content: dict[str, Any], buffers: list[bytes]) -> None:
        self.messages.append((content, buffers))
        if content["type"] == "sections":
            self.sections.update(content["sections"])
        elif content["type"] == "rows":
            self.rows = {} if content["reset"] else self.rows
            self.rows.update(content["set"])
            for key in content["gone"]:
                self.rows.pop(key, None)

    def take(self, kind: str) -> list[dict[str, Any]]:
        """Messages of a kind, which are forgotten."""
        found = [m for m, _ in self.messages if m["type"] == kind]
        self.messages = [(m, b) for m, b in self.messages if m["type"] != kind]
        return found

    def do(self, command: str, **arguments: Any) -> tuple[dict[str, Any], list[bytes]]:
        """The answer to a command, when everything has settled."""
        self.post(command, **arguments)
        assert self._desk.settle()
        (answer,) = [m for m in self.messages if m[0]["type"] == "reply"]
        self.take("reply")
        return answer

    def post(self, command: str, **arguments: Any) -> None:
        """Ask, and do not wait."""
        self.surface._handle_custom_msg({"type": "do", "id": "1", "command": command, "args": arguments}, [])


@pytest.fixture
def page_of() -> type[Page]:
    return Page
