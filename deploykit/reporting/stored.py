"""Finding a sweep, and a pass over the layers, in a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploykit.core.contract import Declared
from deploykit.core.errors import DatasetError, StoreError
from deploykit.core.model import Model
from deploykit.data.dataset import Dataset
from deploykit.reporting.evidence.sensitivity import Sensitivity
from deploykit.storage.store import Store
from deploykit.transforms._checking import checked


def sweep_of(store: Store, model: Model | None, data: Any) -> tuple[str, dict[str, Any]] | None:
    """The latest sweep of a model, on some data; None leaves either open."""
    given = None if data is None else Dataset.of(data)
    for context, facts in store.sweeps().items():
        if model is not None and facts["model"]["digest"] != model.digest:
            continue
        known = model or Model.from_json(facts["model"])
        if given is None or facts["data"] == _folder(
            store, given, known, Declared.from_json(facts.get("declared") or {})
        ):
            return context, facts
    return None


def _folder(store: Store, data: Dataset, model: Model, declared: Declared) -> str:
    """Where a store keeps the data for a model, whose inputs they are named after; "" when they do not fit it."""
    try:
        return store.relative(store.folder("data", checked(model, data, declared).digest))
    except DatasetError:
        return ""


def latest_pass(store: Path, wanted: tuple[str, str], technique: str | None) -> Sensitivity:
    """The latest pass over the layers.

    Args:
        store: The store's folder.
        wanted: Digest of the model, and the data's folder in the store.
        technique: Of this technique only.

    Raises:
        StoreError: There was none.
    """
    passes = [Sensitivity.from_json(record) for record in Store(store).records("sensitivity").values()]
    found = [p for p in passes if (p.model, p.data) == wanted and technique in (None, p.technique)]
    if not found:
        raise StoreError(
            f"The store {store} holds no sensitivity pass{f' for {technique}' if technique else ''}.",
            remedy="run dk.sensitivity(model, data, store=…), or deploykit sensitivity.",
        )
    return max(found, key=lambda p: p.when)
