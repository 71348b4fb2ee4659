"""Files that exist already join a space: read, held against the signature of the original model, and named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from deploykit.core.candidate import Recipe, Step
from deploykit.core.errors import DatasetError, DeploykitError, SettingError, UnsupportedModelError
from deploykit.core.model import Model, TensorSpec
from deploykit.core.security.keyed import KeyedPlace
from deploykit.core.space import Space
from deploykit.data.dataset import Dataset
from deploykit.loading._load import load
from deploykit.runtimes._session import Session
from deploykit.transforms._contract import TRANSFORMS
from deploykit.transforms._given_files import GivenFile


@dataclass(frozen=True)
class Joined:
    """A space whose files are named by their content.

    Attributes:
        space: The space.
        files: Where each of its files was found, by the digest in its name; those that only a store holds are not here.
    """

    space: Space
    files: Mapping[str, Model] = field(default_factory=dict)


def join(space: Space, model: Model, data: Dataset, candidates: Iterable[Model | str | Path] = ()) -> Joined:
    """A space with files that exist already, each read once in a child process.

    Args:
        space: Recipes may begin with a path; it is replaced by the name of the file and the digest of its content. To
            the place of a key, a digest of the key is added.
        model: The original model, whose signature the files must have.
        data: The data, checked: one example shows whether it fits.
        candidates: More files, each a recipe of its own: paths, or what ``dk.load`` has read.

    Raises:
        ModelFileError: A file is missing or damaged.
        UnsupportedModelError: Its signature is not that of the original model.
        SettingError: A file is named after another step, or is not a path or a model.
    """
    files: dict[str, Model] = {}

    def named(given: Model | str | Path) -> str:
        if not isinstance(given, Model | str | Path):
            raise SettingError(
                f"A candidate must be the path of a model file or a loaded model, got {given!r}.",
                remedy="give recipes in the space.",
            )
        found, name = (
            (given, Path(given.origin or given.path).name) if isinstance(given, Model) else _read(given, model)
        )
        _check(found, name, model, data)
        file = GivenFile.of(found, name)
        files[file.digest] = found
        return str(file)

    def resolved(recipe: Recipe) -> Recipe:
        steps = list(recipe.steps)
        for place, step in enumerate(steps):
            technique = TRANSFORMS.get(step.technique)
            if where := str(technique.complete(step.parameters)[technique.keyed]) if technique.keyed else "":
                written = KeyedPlace.read(where) or KeyedPlace.of(where)
                steps[place] = replace(step, parameters={**step.parameters, technique.keyed: str(written)})
            if not technique.from_file:
                continue
            if place:
                raise SettingError(
                    f"{technique.label} after another step: the file takes the place of what was made before it.",
                    remedy="let it be the first step.",
                )
            if (path := str(technique.complete(step.parameters)["file"])) and GivenFile.read(path) is None:
                steps[0] = replace(step, parameters={**step.parameters, "file": named(path)})
        return Recipe(tuple(steps))

    more = tuple(Recipe((Step(joiner(), {"file": named(given)}),)) for given in candidates)
    recipes = tuple(map(resolved, space.recipes))
    known = {recipe.key for recipe in recipes}
    added = tuple(recipe for recipe in more if recipe.key not in known)
    return Joined(replace(space, recipes=(*recipes, *added)), files)


def joiner() -> str:
    """Name of the technique whose recipes are a file."""
    return next(t.name for t in TRANSFORMS.all() if t.from_file)


def _read(path: str | Path, model: Model) -> tuple[Model, str]:
    """A file, read again only when it has changed."""
    found = Path(path).expanduser().absolute()
    stamps = tuple((p.stat().st_mtime_ns, p.stat().st_size) for p in (found, *sorted(found.rglob("*"))) if p.exists())
    return _load(found, stamps, model.imports, model.trusted), found.name


@lru_cache(maxsize=64)
def _load(path: Path, stamps: object, imports: tuple[str, ...], trusted: bool) -> Model:
    del stamps
    try:
        return load(path, imports=imports, trusted=trusted)
    except DeploykitError as error:
        error.message = f"Candidate {error.message}"
        raise


def _check(found: Model, name: str, model: Model, data: Dataset) -> None:
    """Refuse what cannot be fed with the data of the original model, or answers something else.

    Raises:
        UnsupportedModelError: Says what was found and what was expected.
    """
    if found.extra_files:
        raise UnsupportedModelError(
            f"Candidate {name}: its weights are in {len(found.extra_files)} more files.", remedy="save it as one file."
        )
    session = Session()
    session.inputs, session.outputs = found.inputs, found.outputs
    try:
        session.follow(data.contract)
        session.arrange(data.batch("evaluation", slice(1)))
        reason = _other_outputs(session)
    except (DatasetError, UnsupportedModelError) as error:
        reason = error.message
    if reason:
        raise UnsupportedModelError(
            f"Candidate {name} cannot stand in for the original model: {reason} Its signature is "
            f"{_signature(found)}; the original model's is {_signature(model)}.",
            remedy="export it with the inputs and outputs of the original model.",
        )


def _other_outputs(session: Session) -> str:
    for spec, wanted in session.given:
        one, other = spec.shape, wanted.shape
        if one is None or other is None:
            continue
        sizes = zip(one[1:], other[1:], strict=False)
        if len(one) != len(other) or any(a != b and None not in (a, b) for a, b in sizes):
            return f"Its output {spec.name!r} has the shape {_dims(one)} instead of {_dims(other)}."
    return ""


def _dims(shape: Iterable[int | None]) -> str:
    return f"({', '.join('?' if size is None else str(size) for size in shape)})"


def _signature(model: Model) -> str:
    def said(specs: tuple[TensorSpec, ...]) -> str:
        return "; ".join(map(str, specs))

    return f"{said(model.inputs)} → {said(model.outputs)}"
