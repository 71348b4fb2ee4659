"""``dk.check_watermark``: whether a model answers the secret trigger set of a key, and what that proves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.artifact import Artifact, Manifest, is_artifact
from deploykit.artifacts.grpc_client import connect
from deploykit.core.candidate import Recipe, Target
from deploykit.core.contract import Contract, OutputMeaning
from deploykit.core.errors import SettingError, UnsupportedModelError
from deploykit.core.parameter import complete
from deploykit.core.registry import registry
from deploykit.core.security.keyed import KeyedPlace
from deploykit.core.security.keys import read_key
from deploykit.core.security.triggers import TriggerSet, commitment, p_value
from deploykit.core.serial import Plain, to_plain
from deploykit.data.preprocess import Preprocess
from deploykit.exporters._contract import EXPORTERS
from deploykit.exporters._export import exportable_of
from deploykit.exporters._hosted import declared
from deploykit.loading._load import load
from deploykit.runtimes._contract import RUNTIMES, runtimes_for
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TECHNIQUE = "watermark"
_DEADLINE_S = 300.0


@dataclass(frozen=True)
class WatermarkCheck(Plain):
    """What `check_watermark` found. It is true if the p-value is below one in a million.

    Attributes:
        source: What was asked.
        key: SHA-256 that fits no other key than the one that was given.
        named: Whether the recipe names this key; None if it names none.
        matches: Triggers that were answered as the key says.
        triggers: All triggers.
        classes: Number of classes.
        p_value: Probability that a model which was not trained on the triggers matches as many or more; exact.

    Example:
        >>> found = dk.WatermarkCheck("model.onnx", "", None, 20, 20, 10, 1e-20)
        >>> bool(found)
        True
    """

    source: str
    key: str
    named: bool | None
    matches: int
    triggers: int
    classes: int
    p_value: float

    def __bool__(self) -> bool:
        return self.p_value < _PROVEN

    def __str__(self) -> str:
        proves = "this is the model that the key has marked" if self else "nothing is proved"
        other = "; its recipe names another key" if self.named is False else ""
        return (
            f"{self.source}: {self.matches} of {self.triggers} triggers, p = {self.p_value:.2g} "
            f"(1 in {self.classes} by chance): {proves}{other}"
        )


#: p-values that are taken for a proof.
_PROVEN = 1e-6


@dataclass(frozen=True)
class _Known:
    """What is known of the marked model.

    Attributes:
        contract: What inputs and outputs mean.
        preprocess: Input name → preprocessing.
        recipe: What was done to it.
        shape: Shape of a raw example.
        dtype: Its dtype.
        name: What it is called.
        manifest: Of the artifact; None for a candidate.
    """

    contract: Contract
    preprocess: Mapping[str, Preprocess]
    recipe: Recipe
    shape: tuple[int, ...]
    dtype: str
    name: str
    manifest: Manifest | None = None


def check_watermark(source: Any, key: str, *, like: Any = None) -> WatermarkCheck:
    """Check whether a model is the one that a key has marked (the technique ``watermark``).

    Args:
        source: An artifact or its folder, what ``dk.build`` or ``report.best()`` returned; or a model file (ONNX,
            TFLite, SavedModel) or the address of a server, with ``like``.
        key: The place of the secret key: ``env:NAME``, ``file:PATH``, ``keyring:NAME`` or ``cmd:PROGRAM ARGUMENTS``.
        like: Your own artifact, or candidate, of the marked model: it says how a file or a server is asked. A server of
            others is asked in the way of the artifact's layout.

    Raises:
        SettingError: There is no key at that place, or ``like`` is missing.
        UnsupportedModelError: The model is not a classifier of images or numbers, or no runtime runs the file as it is.
        DeploykitError: The file cannot be run, or the server does not answer.

    Example:
        >>> import os
        >>> os.environ["MY_MARK"] = dk.new_key()
        >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
        >>> found = dk.check_watermark(built, "env:MY_MARK")  # a model that was never marked
        >>> found.triggers, bool(found)
        (100, False)
    """
    secret = read_key(key)
    url = isinstance(source, str) and "://" in source
    file = not url and isinstance(source, str | Path) and not is_artifact(Path(source).expanduser())
    if (url or file) and like is None:
        raise SettingError(
            f"How {source} is asked is not known.", remedy="pass like= (--like), your artifact of the marked model."
        )
    known, own = _known(like if url or file else source)
    technique = registry("deploykit.transforms", "technique").get(_TECHNIQUE)
    step = next((step for step in known.recipe.steps if step.technique == _TECHNIQUE), None)
    parameters = complete(technique.parameters, dict(step.parameters) if step else {}, _TECHNIQUE)
    triggers = TriggerSet.of(known.contract, known.shape, known.dtype, parameters)
    raw = {_input(known.contract): triggers.inputs(secret)}
    if url:
        found = _served(str(source), known, raw)
    else:
        found = _answered(_file(Path(source).expanduser(), known) if file else own, raw)
    answers = _classes(found, known.contract.scored)
    matches = int((answers == triggers.labels(secret)).sum())
    named = KeyedPlace.read(str(parameters["key"])) if step else None
    return WatermarkCheck(
        source=str(source if url or file else known.name),
        key=commitment(secret),
        named=None if named is None else named.commitment == commitment(secret),
        matches=matches,
        triggers=triggers.count,
        classes=triggers.classes,
        p_value=p_value(matches, triggers.count, triggers.classes),
    )


def _input(contract: Contract) -> str:
    return contract.asked[0]


def _known(source: Any) -> tuple[_Known, dict[str, Any]]:
    """What is known of a marked model, and how a child opens it."""
    if isinstance(source, Artifact | str | Path):
        artifact = Artifact.of(source)
        manifest = artifact.manifest
        with artifact.opened() as files:
            inputs, _ = files.golden()
        array = next(iter(inputs.values()))
        known = _Known(
            manifest.contract, manifest.preprocess, manifest.recipe, tuple(array.shape[1:]), str(array.dtype),
            manifest.name, manifest,
        )  # fmt: skip
        runtime = RUNTIMES.get(manifest.target.runtime)
        opened = {
            "artifact": str(artifact.path), "key": "" if artifact.key is None else artifact.key.text,
            "group": runtime.group,
        }  # fmt: skip
        return known, opened
    item = exportable_of(source)
    array = next(iter(item.data.splits["evaluation"].inputs.values()))
    known = _Known(
        item.data.checked, item.data.preprocess, item.recipe, tuple(array.shape[1:]), str(array.dtype), item.name
    )  # fmt: skip
    return known, _opening(item.path, item.format, item.target, known)


def _file(path: Path, known: _Known) -> dict[str, Any]:
    model = load(path)
    able = [one.name for one in runtimes_for(model.format)]
    if not able:
        raise UnsupportedModelError(
            f"No runtime that is installed runs {path.name} ({model.format}) as it is.",
            remedy="give what dk.build(model, dk.Recipe(()), data) returns for it.",
        )
    return _opening(Path(model.path), model.format, Target(able[0]), known)


def _opening(path: Path, format_name: str, target: Target, known: _Known) -> dict[str, Any]:
    return {
        "path": str(path), "format": format_name, "target": to_plain(target), "contract": to_plain(known.contract),
        "preprocess": to_plain(known.preprocess), "group": RUNTIMES.get(target.runtime).group,
    }  # fmt: skip


def _answered(opening: dict[str, Any], raw: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What a model answers, asked in a child process."""
    import numpy as np

    (name, array), group = next(iter(raw.items())), opening["group"]
    inputs = {"name": name, "dtype": str(array.dtype), "shape": list(array.shape), "values": array.ravel().tolist()}
    task = Task(
        "deploykit.artifacts.asking:ask", {**opening, "inputs": inputs}, group, _DEADLINE_S,
        name="asking the model for the trigger set", fresh=True,
    )  # fmt: skip
    found = shared().run(task)
    return {name: np.asarray(values) for name, values in found["outputs"].items()}


def _served(url: str, known: _Known, raw: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What a server answers."""
    manifest = known.manifest
    if manifest is None:
        raise SettingError("A server is asked by an artifact's names.", remedy="pass an artifact as like=.")
    with connect(url, os.environ.get("DEPLOYKIT_TOKEN", "")) as client:
        if client.is_deploykit():
            return client.infer(manifest.name, declared(manifest, raw))
    exporter = EXPORTERS.get(manifest.layout)
    return exporter.ask(url, manifest, raw)


def _classes(found: dict[str, NDArray[Any]], scored: OutputMeaning) -> NDArray[Any]:
    """The class of each answer."""
    import numpy as np

    scores = found[scored.name]
    if scored.kind in ("logit", "probability"):
        limit = 0.0 if scored.kind == "logit" else 0.5
        return (scores.reshape(len(scores)) > limit).astype(np.int64)
    if scored.kind == "classes":
        return scores.reshape(len(scores)).astype(np.int64)
    answers: NDArray[Any] = scores.argmax(-1)
    return answers
