"""The script for what was clicked, using only the public API and leaving out defaults."""

from __future__ import annotations

import os
import pprint
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploykit.core.candidate import Recipe, Target
from deploykit.core.model import Model
from deploykit.core.registry import registry
from deploykit.core.settings.option import options_of
from deploykit.core.settings.options import BuildOptions
from deploykit.core.space import Space
from deploykit_widgets.space import options
from deploykit_widgets.space.choice import SpaceChoice
from deploykit_widgets.state import DataSource, Goal, State

_WIDTH = 100
#: A path that needs more steps up than this is absolute.
_MOST_UP = 3


class Values:
    """How the script names its paths and settings: as literals.

    Args:
        folder: Where the code will run, see `shown_path`.

    Attributes:
        everything: Whether to include settings that have their default values.
    """

    everything = False

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def path(self, path: str | os.PathLike[str]) -> str:
        """A path as the code names it."""
        return shown_path(path, self._folder)

    def of(self, name: str, value: str | float) -> str:
        """The expression for a value that ``name`` describes."""
        del name
        return string(value) if isinstance(value, str) else repr(value)


class Parameters(Values):
    """As parameters of a notebook, which are collected in ``found`` in the order of their use."""

    everything = True

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        self.found: dict[str, str | float] = {}

    def of(self, name: str, value: str | float) -> str:
        """The name itself."""
        self.found[name] = value
        return name


def script(state: State) -> str:
    """The whole script."""
    return "\n".join("\n".join(part) + "\n" for part in parts(state, Values()) if part)


def parts(state: State, values: Values, data: str = "") -> list[list[str]]:
    """The script in its parts: imports; model, data, space and sweep; choice; export and server.

    Args:
        state: What is shown.
        values: How paths and settings are named.
        data: Expression for the data; "" for the data of the state.
    """
    if state.model is None and state.report is not None:  # a report that was opened, without what it was made of
        opened = f"report = dk.Report.open({values.of('store', values.path(state.store))})"
        return [["import deploykit as dk"], [opened], [_choice(state, values)]]
    inputs = [_model(state.model, values), *([f"data = {data}"] if data else _data(state, values))]
    inputs += [_synthesis(state, values, given=bool(data))] if state.synthesis else []
    space = _space(state.space_choice)
    imports = ["import dataclasses", ""] if any("dataclasses." in line for line in space) else []
    work = [*inputs, *space, _sweep(state, values, spaced=bool(space))]
    leave: list[str] = []
    if state.artifact is not None and state.chosen is not None and state.exported == state.chosen.key:
        leave = [_export(state, values)]
        if state.server is not None:
            leave += [f"with {call('dk.serve', ['artifact', 'port=0'])} as server:",
                      "    print(server.predict(data.sample(1)))"]  # fmt: skip
    return [[*imports, "import deploykit as dk"], work, [_choice(state, values), *leave]]


def inputs(state: State) -> str:
    """The script that only loads the model and the data."""
    none = Values()
    model = [_model(state.model, none)] if state.model is not None else []
    data = _data(state, none) if state.data is not None else []
    data += [_synthesis(state, none)] if state.synthesis else []
    return "\n".join(["import deploykit as dk\n", *model, *data]) + "\n"


def call(function: str, arguments: Sequence[str], prefix: str = "", indent: str = "") -> str:
    """A call on one line, or with one argument per line if it is too long."""
    line = f"{indent}{prefix}{function}({', '.join(arguments)})"
    if len(line) <= _WIDTH and "\n" not in line:
        return line
    inner = "".join(f"{indent}    {a},\n" for a in arguments)
    return f"{indent}{prefix}{function}(\n{inner}{indent})"


def several(items: Sequence[str], indent: str) -> str:
    """A list on one line, or with one item per line if it is too long."""
    line = f"[{', '.join(items)}]"
    if len(line) <= _WIDTH - 30:  # room for what stands before it
        return line
    inner = "".join(f"{indent}    {item},\n" for item in items)
    return f"[\n{inner}{indent}]"


def shown_path(path: str | os.PathLike[str], folder: Path | None = None) -> str:
    """A path relative to a folder if it is in or near that folder, with forward slashes.

    Args:
        path: Relative paths are relative to the working folder.
        folder: Where the code will run: the folder of its notebook; None: the working folder, which is that of the
            notebook that shows the Workbench.
    """
    found, here = Path(path).expanduser(), Path.cwd()
    if not found.is_absolute() and folder is None:
        return found.as_posix()
    found, base = Path(os.path.normpath(here / found)), (here / (folder or ".")).absolute()
    shared = next((p for p in [base, *base.parents[:_MOST_UP]] if found.is_relative_to(p)), None)
    if shared is None or shared == Path(shared.anchor):
        return found.as_posix()
    return Path(os.path.relpath(found, base)).as_posix()


def path_code(path: str | Path, folder: Path | None = None) -> str:
    """A path as a literal; see `shown_path`."""
    return string(shown_path(path, folder))


def string(value: str) -> str:
    """A string literal with double quotes."""
    literal = repr(value)
    return f'"{literal[1:-1]}"' if literal.startswith("'") and '"' not in literal else literal


def literal(value: Any) -> str:
    """A value of a recipe as code."""
    if isinstance(value, str):
        return string(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{string(k)}: {literal(v)}" for k, v in value.items()) + "}"
    return repr(value)


def _model(model: Model | None, values: Values) -> str:
    if model is None:
        return f"model = dk.load({values.of('model_path', 'model.keras')})"
    arguments = [values.of("model_path", values.path(model.origin if model.is_part else model.path))]
    arguments += [f"inputs={literal(list(model.named_inputs))}"] if model.named_inputs else []
    arguments += [f"outputs={literal(list(model.named_outputs))}"] if model.named_outputs else []
    arguments += [f"imports={literal(list(model.imports))}"] if model.imports else []
    arguments += ["trusted=True"] if model.trusted else []
    return call("dk.load", arguments, "model = ")


def _data(state: State, values: Values) -> list[str]:
    if state.data_source is not None:
        arguments = data_arguments(state.data_source, values)
        return [call(f"dk.Dataset.{state.data_source.reader}", arguments, "data = ")]
    if state.synthesis is not None and state.synthesis.given is None:
        return []
    if state.report is not None and state.synthesis is None:
        saved = string(values.path(state.report.path / state.report.facts["data"]))
        return [f"data = dk.Dataset.open({saved})  # as the sweep saved it"]
    variable = state.data_name
    read = [] if state.data_step is None else [f"data = data.preprocessed({state.data_step.code()})"]
    if "," in variable:
        return [f"data = dk.Dataset.from_arrays({variable})", *read]
    if variable:
        return ["# data: the Dataset of this notebook" if variable == "data" else f"data = {variable}", *read]
    return ["# data: the Dataset given to the Workbench", *read]


def _synthesis(state: State, values: Values, *, given: bool = False) -> str:
    """Inputs that are made from the model; ``given`` is whether they are added to other data in any case."""
    assert state.synthesis is not None
    arguments = ["model", *(["data"] if given or state.synthesis.given is not None else [])]
    arguments += [f"{name}={literal(value)}" for name, value in state.synthesis.settings.items()]
    for name, value in {**state.options, **state.declared}.items():
        if name in options_of(BuildOptions):
            arguments.append(f"{name}={values.of(name, value) if isinstance(value, int | float) else literal(value)}")
    return call("dk.synthesize", arguments, "data = ")


def data_arguments(source: DataSource, values: Values) -> list[str]:
    """Arguments of the constructor of Dataset."""
    arguments = [values.of("data_path", values.path(source.path))]
    if not source.preprocess.is_identity:
        arguments.append(f"preprocess={source.preprocess.code()}")
    for name, value in source.settings.items():
        arguments.append(f"{name}={values.of(name, value) if isinstance(value, int | float) else literal(value)}")
    return arguments


def _space(choice: SpaceChoice | None) -> list[str]:
    if choice is None:
        return []
    lines = []
    if not choice.preset:
        lines.append(_spelled_out(choice.base))
    elif choice.changes:
        changes = [f"{name}={literal(values)}" for name, values in choice.changes.items()]
        lines.append(call("dk.Space.preset", [string(choice.preset), *changes], "space = "))
    if not (choice.left_out or choice.added or choice.targets or choice.lengths is not None):
        return lines
    if not lines:
        lines.append(f"space = dk.Space.preset({string(choice.preset)})")
    recipes = "space.recipes"
    if choice.left_out:
        lines.append(f"left_out = {literal(list(choice.left_out))}")
        lines.append("kept = [r for r in space.recipes if not any(s.technique in left_out for s in r.steps)]")
        recipes = "kept"
    edits = []
    if choice.added:
        edits.append(f"recipes={several([f'*{recipes}', *map(_recipe, choice.added)], '    ')}")
    elif choice.left_out:
        edits.append(f"recipes={recipes}")
    if choice.targets:
        edits.append(f"targets={several([_target(t) for t in choice.targets], '    ')}")
    if choice.lengths is not None:
        edits.append(f"lengths={literal(list(choice.lengths))}")
    return [*lines, call("dataclasses.replace", ["space", *edits], "space = ")]


def _spelled_out(space: Space) -> str:
    if space.refine.top:
        spelled = textwrap.indent(pprint.pformat(space.to_json(), width=90, compact=True, sort_dicts=False), "    ")
        return f"space = dk.Space.from_json(\n{spelled}\n)"
    arguments = [f"recipes={several([_recipe(r) for r in space.recipes], '    ')}"]
    if space.targets:
        arguments.append(f"targets={several([_target(t) for t in space.targets], '    ')}")
    arguments += [f"lengths={literal(list(space.lengths))}"] if space.lengths else []
    return call("dk.Space", arguments, "space = ")


def _recipe(recipe: Recipe) -> str:
    if not recipe.steps:
        return "dk.Recipe()"
    steps = [
        f"dk.Step({', '.join([string(s.technique), *([literal(s.parameters)] if s.parameters else [])])})"
        for s in recipe.steps
    ]
    return f"dk.Recipe(({', '.join(steps)},))"


def _target(target: Target) -> str:
    arguments = [string(target.runtime)]
    arguments += [f"device={string(target.device)}"] if target.device != "cpu" else []
    arguments += [f"threads={target.threads}"] if target.threads != 1 else []
    arguments += [f"batch_size={target.batch_size}"] if target.batch_size != 1 else []
    arguments += [f"lengths={target.lengths!r}"] if target.lengths else []
    return f"dk.Target({', '.join(arguments)})"


def _sweep(state: State, values: Values, *, spaced: bool) -> str:
    choice = state.space_choice
    arguments = ["model", "data"]
    if spaced:
        arguments.append("space")
    elif choice is not None and choice.preset != "quick":
        arguments.append(string(choice.preset))
    arguments.append(f"store={values.of('store', values.path(state.store))}")
    given = options.arguments(state.options, state.goal)
    for name, option in options.controlled().items():
        number = option.kind in {"int", "float"}
        if name in given or (values.everything and number and not option.of_goal):
            value: Any = given.get(name, option.default)
            arguments.append(f"{name}={values.of(name, value) if number else literal(value)}")
    arguments += [f"{name}={literal(value)}" for name, value in state.declared.items()]
    return call("dk.sweep", arguments, "report = ")


def _choice(state: State, values: Values) -> str:
    goal = state.goal
    changed = []
    if values.everything or goal.max_drop != Goal().max_drop:
        changed.append(f"max_drop={values.of('max_drop', goal.max_drop)}")
    if values.everything or goal.minimize != Goal().minimize:
        changed.append(f"minimize={values.of('minimize', goal.minimize)}")
    if state.picked:
        return call("report.choice_for", [string(state.picked), *changed], "choice = ")
    return call("report.best", changed, "choice = ")


def _export(state: State, values: Values) -> str:
    assert state.artifact is not None
    arguments = ["choice", string(values.path(state.artifact.path))]
    layout = state.artifact.manifest.layout
    arguments += [f"layout={string(layout)}"] if layout != "folder" else []
    usual = registry("deploykit.exporters", "layout").get(layout).complete({})
    changed = {n: v for n, v in state.artifact.manifest.parameters.items() if v != usual.get(n)}
    arguments += [f"parameters={literal(changed)}"] if changed else []
    return call("dk.export", arguments, "artifact = ")
