"""One candidate, without a sweep."""

from __future__ import annotations

import tempfile
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from deploykit.core import extras
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.errors import DeploykitError, UnsupportedModelError
from deploykit.core.model import Model
from deploykit.core.settings.option import complete, takes
from deploykit.core.settings.options import BuildOptions
from deploykit.core.space import Space
from deploykit.engines._contract import start
from deploykit.measuring.exportable import Exportable
from deploykit.measuring.predict import predict
from deploykit.planning.finished import Built, reported
from deploykit.planning.joining import join
from deploykit.planning.limits import Limits
from deploykit.planning.routes import Impossible, Route, Routes, describe
from deploykit.planning.settings import declared_of
from deploykit.planning.steps import BuildStep
from deploykit.runtimes._contract import RUNTIMES
from deploykit.storage.store import Store
from deploykit.sweeping import given_files
from deploykit.sweeping.workshop import Workshop
from deploykit.transforms._checking import checked

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class BuiltCandidate:
    """A candidate that was built and not measured.

    Attributes:
        item: File and facts, as exporters take them.
        size_bytes: Size of the artifact.
        compressed_bytes: Size after gzip.
        notes: Facts that the build steps reported, in their order: adapter → facts, as in ``Result.notes``. Of a second
            step of one technique, its number is behind the name.

    Example:
        >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
        >>> built.size_bytes < model.size_bytes, built.path.suffix
        (True, '.onnx')
        >>> list(built.notes)
        ['quantize_dynamic']
    """

    item: Exportable
    size_bytes: int
    compressed_bytes: int
    notes: dict[str, Any]

    @property
    def path(self) -> Path:
        """The model file or folder."""
        return self.item.path

    def exportable(self) -> Exportable:
        """For ``dk.export``.

        Raises:
            ExportError: The file has changed since it was built.
        """
        return self.item.unchanged()

    def save(self, path: str | Path) -> Path:
        """Write just the model file (or folder); see ``Choice.save``."""
        from deploykit.exporters._save import save_file

        return save_file(self.exportable(), path)

    def predict(self, x: Any) -> dict[str, NDArray[Any]]:
        """Outputs by name for raw examples, computed in a child process."""
        return predict(self.exportable(), x)

    def __repr__(self) -> str:
        return f"BuiltCandidate({describe(self.item.recipe)} on {self.item.target}, {self.size_bytes:,} bytes)"


@takes(BuildOptions)
def build(
    model: Model,
    recipe: Recipe | Step | list[Step],
    data: Any,
    *,
    target: Target | str | None = None,
    store: str | Path | None = None,
    **options: Unpack[BuildOptions],
) -> BuiltCandidate:
    """Build one candidate.

    Args:
        model: From ``dk.load``.
        recipe: The recipe to apply; a step or a list of steps also works.
        data: A Dataset or a pair (x, y); calibration and fine-tuning read its training split.
        target: Runtime (or its name) to build for; None: the first one the recipe can be built for.
        store: Folder that keeps build steps; None: a temporary folder that is removed when the process ends.
        **options: Those of ``dk.sweep`` that matter for one candidate.

    Raises:
        UnsupportedModelError: The recipe cannot be built for the target; the message says why.
        SettingError: An unknown technique, parameter or runtime.
        DeploykitError: A step failed.

    Example:
        >>> dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
        BuiltCandidate(int8 dynamic on onnxruntime · cpu · 1 thread, ... bytes)
    """
    extras.check("sweep")
    settings = complete(BuildOptions, options)
    declared, seed, limits = declared_of(settings), settings["seed"], Limits.of(settings)
    data = checked(model, data, declared)
    joined = join(Space((Recipe.of(recipe),)), model, data)
    recipe = joined.space.recipes[0]
    routes = Routes(model, data, seed, compiling=False)  # what is built here is run and exported elsewhere as well
    names = [r.name for r in RUNTIMES.all()]
    native = sorted(names, key=lambda n: (model.format not in RUNTIMES.get(n).native_to, n))
    wanted = [Target(n) for n in native] if target is None else [Target(target) if isinstance(target, str) else target]
    reasons = []
    for candidate in wanted:
        route = routes.find(recipe, candidate)
        if isinstance(route, Impossible):
            reasons.append(route.reason)
            continue
        if route.unused:
            reasons += route.unused
            continue
        opened = Store(store or _scratch(), create=True)
        given_files.keep(opened, joined.files, route.steps)
        with opened.writer(), start("local", threading.Event()) as running:
            workshop = Workshop(opened, running, model, data, seed, limits, declared)
            workshop.save_data()
            built, notes = _run(workshop, route)
        data = replace(data, contract=workshop.contract)
        item = Exportable(
            workshop.path(built), route.format, model.name, recipe, candidate, model, data,
            check=workshop.examined.check, digest=built.digest if Path(built.path).is_absolute() else "",
        )  # fmt: skip
        return BuiltCandidate(item, built.size_bytes, built.compressed_bytes, notes)
    raise UnsupportedModelError(
        f"{describe(recipe)} cannot be built: {'; '.join(dict.fromkeys(reasons))}.",
        remedy="choose another target or technique.",
    )


def _run(workshop: Workshop, route: Route) -> tuple[Built, dict[str, Any]]:
    """What the last step made, and what all steps reported."""
    built: Built | None = None
    notes: list[tuple[BuildStep, dict[str, Any]]] = []
    for step in (None, *route.steps):
        found = workshop.built(step)
        if found is None:
            source = workshop.path(built) if built else Path(workshop.model.path)
            found = workshop.finish_step(step, workshop.start_step(step, source))
        if isinstance(found, DeploykitError):
            raise found
        built = found
        notes += [(step, built.notes)] if step else []
    assert built is not None
    return built, reported(notes)


_folder: tempfile.TemporaryDirectory[str] | None = None


def _scratch() -> str:
    """One temporary store for this process."""
    global _folder
    if _folder is None:
        _folder = tempfile.TemporaryDirectory(prefix="deploykit-build-")
    return _folder.name
