"""Data: samples, classes, splits, and what drop they can resolve."""

from __future__ import annotations

from pathlib import Path

import ipywidgets as widgets

from deploykit.core.dataset import Dataset
from deploykit_widgets import markup, samples
from deploykit_widgets.commands import Commands
from deploykit_widgets.desk import user_only
from deploykit_widgets.markup import text
from deploykit_widgets.state import DataSource, State

_SAMPLES = 12
_MOST_CLASSES = 50


class DataPanel:
    """What the data are; a path field when none were given.

    Args:
        commands: What the buttons do.
        ask: Whether to show the path field.
    """

    def __init__(self, commands: Commands, *, ask: bool) -> None:
        self._commands = commands
        self.path = widgets.Text(
            description="Data",
            placeholder=".npz, .csv, or a folder of images by class",
            tooltip="Path of the data, on the machine that runs the kernel",
        )
        self.path.add_class("dk-wide")
        self.scale = widgets.Text(
            value="1", description="Scale", tooltip="Factor for the examples: a number, or a fraction such as 1/255"
        )
        self.reshape = widgets.Text(
            description="Reshape", placeholder="28, 28, 1", tooltip="Shape of one example; empty leaves it as it is"
        )
        self.load = widgets.Button(description="Load", tooltip="Load the data", icon="folder-open")
        self.load.on_click(user_only(commands.desk, self._load))
        row = widgets.HBox([self.path, self.scale, self.reshape, self.load])
        row.layout.display = "flex" if ask else "none"
        self.content = widgets.HTML()
        self.widget = widgets.VBox([row, self.content])
        self.widget.add_class("dk-panel")
        self._drawn: tuple[Dataset | None, str] = (None, "")
        commands.state.observe(self.show, "data", "plan", "goal", "problems", "busy")
        self.show()

    def load_from(self, path: str) -> None:
        """Load data from a path as if it had been typed."""
        self.path.value = path
        self._load()

    def _load(self) -> None:
        try:
            path = self.path.value.strip()
            source = DataSource(path, _reader(path), _fraction(self.scale.value), _shape(self.reshape.value))
        except ValueError as error:
            self._commands.state.problem("data", str(error))
        else:
            self._commands.load_data(source)

    def show(self) -> None:
        """Draw."""
        state = self._commands.state
        self.load.disabled = "data" in state.busy
        said = markup.problem(state.problems.get("data", ""))
        if "data" in state.busy:
            said += markup.note("Reading the data …")
        elif state.data is None and not said:
            said += markup.note("Give data: .npz, .csv, or a folder of images by class.")
        if state.data is not self._drawn[0]:
            self._drawn = (state.data, describe(state.data) if state.data else "")
        said += resolves(state) if state.data else ""
        self.content.value = said + self._drawn[1]


def resolves(state: State) -> str:
    """What change of accuracy the data can tell, and whether that is enough for the goal."""
    data, plan, limit = state.data, state.plan, state.goal.max_drop
    if data is None:
        return ""
    if not data.labelled:
        return markup.note("No labels: accuracy becomes agreement with the original.")
    if plan is None or not samples.class_counts(data):
        return ""
    size = f"{plan.evaluation_examples:,} evaluation samples"
    if plan.resolves > limit:
        said = (
            f"{size} give about ± {100 * plan.resolves:.1f} pp: a limit of {100 * limit:.1f} pp may not be settled. "
            "Add samples or raise the limit."
        )
        return f'<div class="dk-warning"><b>Few samples:</b> {text(said)}</div>'
    return markup.note(f"{size} can resolve a change of about {100 * plan.resolves:.2f} pp.")


def describe(data: Dataset) -> str:
    """Splits, classes and samples as HTML."""
    pairs = [
        ("Inputs", "<br>".join(_input(data, n) for n in data.inputs)),
        *((f"{name.capitalize()} split", f"{len(split):,}") for name, split in data.splits.items()),
        ("Labels", _labels(data)),
        ("Preprocessing", "<br>".join(text(p) for p in _steps(data)) or "none"),
    ]
    facts = markup.heading("Data", f"{len(data):,} examples") + markup.facts(pairs)
    seen = markup.heading("Samples", "of the evaluation split") + _samples(data)
    return f'<div class="dk-two"><div>{facts}{seen}</div><div>{_classes(data)}</div></div>'


def _input(data: Dataset, name: str) -> str:
    array = data.splits["evaluation"].inputs[name]
    return text(f"{name}: {array.dtype} ({', '.join(map(str, array.shape[1:]))})")


def _labels(data: Dataset) -> str:
    labels = data.labels()
    if labels is None:
        return "none"
    counts = samples.class_counts(data)
    if counts:
        return markup.count(len(counts), "class", "classes")
    low, high = float(labels.min()), float(labels.max())
    return f"real numbers from {low:.4g} to {high:.4g}"


def _steps(data: Dataset) -> list[str]:
    found = []
    for name, step in data.preprocess.items():
        parts = [f"reshape to {step.reshape}"] if step.reshape is not None else []
        parts += [f"resize to {step.resize}"] if step.resize is not None else []
        parts += [f"× {step.scale:.4g}"] if step.scale != 1.0 else []
        parts += [f"+ {step.offset:g}"] if step.offset else []
        if parts:
            found.append((f"{name}: " if len(data.inputs) > 1 else "") + ", ".join(parts))
    return found


def _classes(data: Dataset) -> str:
    counts = samples.class_counts(data)
    if not counts:
        return ""
    most = max(n for _, n in counts) or 1
    rows = "".join(
        f'<tr><td>{text(name)}</td><td class="dk-n">{n:,}</td>'
        f'<td class="dk-fill"><span class="dk-bar" style="width:{100 * n / most:.1f}%"></span></td></tr>'
        for name, n in counts[:_MOST_CLASSES]
    )
    more = len(counts) - _MOST_CLASSES
    rest = markup.note(f"{more} more classes are not shown.") if more > 0 else ""
    table = f'<table class="dk-classes" aria-label="Examples of each class in the evaluation split">{rows}</table>'
    title = markup.heading("Classes", "in the evaluation split")
    return f'{title}<div class="dk-scroll" tabindex="0">{table}</div>{rest}'


def _samples(data: Dataset) -> str:
    count = min(_SAMPLES, len(data.splits["evaluation"]))
    if samples.picture_of(data, 0) is None:
        head = ["Sample", *(f"{i}" for i in range(len(samples.cells_of(data, 0)))), "Label"]
        rows = ([str(i), *map(text, samples.cells_of(data, i)), text(samples.label_of(data, i))] for i in range(count))
        return f'<div class="dk-scroll" tabindex="0">{markup.table(head, rows, label="Samples")}</div>'
    tiles = []
    for i in range(count):
        picture = samples.picture_of(data, i)
        assert picture is not None
        label = samples.label_of(data, i)
        named = f"sample {i}, {label}" if label else f"sample {i}"
        tiles.append(f"<figure>{markup.picture(picture, named)}<figcaption>{text(label)}</figcaption></figure>")
    return f'<div class="dk-tiles">{"".join(tiles)}</div>'


def _reader(path: str) -> str:
    if Path(path).expanduser().is_dir():
        return "from_image_folder"
    return "from_csv" if path.lower().endswith(".csv") else "from_npz"


def _fraction(words: str) -> float:
    parts = words.split("/")
    try:
        numbers = [float(p) for p in parts]
        if len(numbers) == 2:
            return numbers[0] / numbers[1]
        (value,) = numbers
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"Scale must be a number or a fraction such as 1/255, got {words!r}.") from None
    return value


def _shape(words: str) -> tuple[int, ...] | None:
    if not words.strip():
        return None
    try:
        return tuple(int(p) for p in words.replace("×", ",").strip(" ()").split(",") if p.strip())
    except ValueError:
        raise ValueError(f"Reshape must be whole numbers with commas between them, got {words!r}.") from None
