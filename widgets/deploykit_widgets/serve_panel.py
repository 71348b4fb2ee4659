"""Serve: start and stop a server of the exported folder, and try it on a sample."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from deploykit.core.artifact import Artifact
from deploykit.core.dataset import Dataset
from deploykit.reporting.report import Report
from deploykit_widgets import markup, samples
from deploykit_widgets.commands import Commands
from deploykit_widgets.desk import user_only
from deploykit_widgets.markup import text

#: A longer request is written to a file beside the artifact, for curl to read.
_INLINE = 160
_TOP = 5


class ServePanel:
    """Port, buttons, URL, curl line and a sample to try.

    Args:
        commands: What the buttons do.
    """

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        desk = commands.desk
        self.port = widgets.BoundedIntText(
            value=8501, min=0, max=65535, description="Port", tooltip="Port on this machine; 0 takes any free one"
        )
        self.start = widgets.Button(
            description="Start server", icon="play", tooltip="Serve the exported folder on loopback"
        )
        self.stop = widgets.Button(description="Stop server", icon="stop", tooltip="Stop the server and free its port")
        self.start.on_click(user_only(desk, lambda: commands.serve(self.port.value)))
        self.stop.on_click(user_only(desk, commands.stop_server))
        self.where = widgets.HTML()
        self.sample = widgets.BoundedIntText(
            value=0, min=0, max=0, description="Sample", tooltip="Number of an example of the evaluation split"
        )
        self.ask = widgets.Button(description="Try it", icon="bolt", tooltip="Send the sample to the server")
        self.ask.on_click(user_only(desk, self._try))
        self.answer = widgets.HTML()
        self._try_row = widgets.VBox([widgets.HBox([self.sample, self.ask]), self.answer])
        self.widget = widgets.VBox(
            [
                widgets.HTML(markup.heading("Serve")),
                widgets.HBox([self.port, self.start, self.stop]),
                self.where,
                self._try_row,
            ]
        )
        self.widget.add_class("dk-panel")
        commands.state.observe(self.show, "artifact", "server", "busy", "problems", "report")
        self.show()

    def show(self) -> None:
        """Draw."""
        state = self._commands.state
        busy, server = "serve" in state.busy, state.server
        self.start.disabled = busy or server is not None or state.artifact is None
        self.stop.disabled = busy or server is None
        self.port.disabled = server is not None
        self.ask.disabled = busy or server is None
        self._try_row.layout.display = "none" if server is None else ""
        if state.report is not None:
            self.sample.max = len(state.report.data.splits["evaluation"]) - 1
        said = markup.problem(state.problems.get("serve", ""))
        if server is not None:
            said += running(server, state.report)
        elif busy:
            said += markup.note("Proving the artifact and starting the server …")
        elif not said:
            stopped = "The server is stopped." if state.artifact else "Export a candidate, then serve it."
            said += markup.note(stopped)
            self.answer.value = ""
        self.where.value = said

    def _try(self) -> None:
        index, report = int(self.sample.value), self._commands.state.report
        self.answer.value = markup.note("Asking …")

        def show(found: Any) -> None:
            assert report is not None
            self.answer.value = answer(report.data, index, found)

        self._commands.predict(index, show)


def running(server: Any, report: Report | None) -> str:
    """Address and how to call it, as HTML."""
    lines = [("URL", f'<a href="{text(server.url)}/v1/models/{text(server.name)}">{text(server.url)}</a>')]
    if report is not None:
        lines.append(("curl", f'<pre tabindex="0">{text(curl(server.artifact, server.url, report.data))}</pre>'))
    client = "server.predict(data.sample(1))   # or any client of TensorFlow Serving REST or Open Inference v2"
    lines.append(("Python", f'<pre tabindex="0">{text(client)}</pre>'))
    good = '<div class="dk-verdict dk-good" role="status"><span aria-hidden="true">✓</span> The server runs.</div>'
    return good + markup.facts(lines)


def request(artifact: Artifact, data: Dataset, index: int = 0) -> str:
    """A predict request of TensorFlow Serving's REST protocol for one example."""
    example = data.splits["evaluation"].take(slice(index, index + 1)).inputs
    names = [spec.name for spec in artifact.manifest.inputs]
    values = {n: example[n][0].tolist() for n in names}
    instance = values if len(values) > 1 else next(iter(values.values()))
    return json.dumps({"instances": [instance]}, separators=(",", ":"))


def curl(artifact: Artifact, url: str, data: Dataset) -> str:
    """A command line that works as it stands; a long request goes to a file beside the artifact."""
    body = request(artifact, data)
    address = f"{url}/v1/models/{artifact.manifest.name}:predict"
    if len(body) <= _INLINE:
        return f"curl -d '{body}' {address}"
    file = Path(f"{artifact.path}.request.json")
    if not file.exists() or file.read_text("utf-8") != body:
        file.write_text(body, "utf-8")
    return f"curl -d '@{file}' {address}"


def answer(data: Dataset, index: int, found: Any) -> str:
    """What the server said of a sample, beside its label, as HTML."""
    picture = samples.picture_of(data, index)
    label = samples.label_of(data, index)
    drawn = markup.picture(picture, f"sample {index}", 84) if picture is not None else ""
    return f'<div class="dk-answer">{drawn}<div>{_said(data, found, label)}</div></div>'


def _said(data: Dataset, found: Any, label: str) -> str:
    if isinstance(found, dict):
        found = next(iter(found.values()))
    values = found[0]
    classes = bool(samples.class_counts(data)) or bool(data.classes)
    if not classes or getattr(values, "ndim", 0) != 1 or len(values) < 2:
        shown = ", ".join(f"{float(v):.4g}" for v in getattr(values, "ravel", lambda: [values])()[:8])
        true = f'<div class="dk-soft">label {text(label)}</div>' if label else ""
        return f"<div><b>{text(shown)}</b></div>{true}"
    order = sorted(range(len(values)), key=lambda i: -float(values[i]))
    names = [data.classes[i] if i < len(data.classes) else str(i) for i in range(len(values))]
    predicted = names[order[0]]
    verdict = ""
    if label:
        right = predicted == label
        word, mark, kind = ("right", "✓", "dk-good") if right else ("wrong", "✗", "dk-bad")
        verdict = f'<span class="{kind}"><span aria-hidden="true">{mark}</span> {word}</span>, label {text(label)}'
    rows = [(text(names[i]), f"{float(values[i]):.4f}") for i in order[:_TOP]]
    table = markup.table(("Class", "Output"), rows, numbers=(1,), label="Highest outputs")
    return f"<div>Prediction <b>{text(predicted)}</b>, {verdict or 'no label'}</div>{table}"
