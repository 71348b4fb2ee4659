"""Datasets in a folder: arrays that child processes map into memory, and what is known of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import Contract
from deploykit.core.mapped import is_large
from deploykit.core.serial import dump, from_plain, parse
from deploykit.data.examples import Data, Examples
from deploykit.data.preprocess import Preprocess
from deploykit.data.reading import Reading
from deploykit.data.split import Split
from deploykit.data.splitting import SPLITS
from deploykit.data.texts import open_array, save_array
from deploykit.storage.disk import writing

if TYPE_CHECKING:
    from numpy.typing import NDArray


def save(data: Examples, folder: Path) -> None:
    """See `Dataset.save`."""
    with writing(folder):
        _save(data, folder)


def _save(data: Examples, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, split in data.splits.items():
        for i, array in enumerate(split.inputs.values()):
            save_array(folder / f"{name}.{i}.npy", array)
        if split.labels is not None:
            save_array(folder / f"{name}.labels.npy", split.labels)
        if split.groups is not None:
            save_array(folder / f"{name}.groups.npy", split.groups)
    facts = {
        "inputs": data.inputs,
        "preprocess": data.preprocess,
        "classes": data.classes,
        "seed": data.seed,
        "calibration_size": data.calibration_size,
        "contract": data.contract,
        "digest": data.digest,
        "reading": data.reading,
        "prepared": [name for name, split in data.splits.items() if split.prepared],
    }
    (folder / "dataset.json").write_bytes(dump(facts))


def opened(kind: type[Data], folder: Path) -> Data:
    """See `Dataset.open`."""
    facts = parse((folder / "dataset.json").read_bytes())
    splits = {}
    for name in SPLITS:
        paths = {key: folder / f"{name}.{i}.npy" for i, key in enumerate(facts["inputs"])}
        labels = folder / f"{name}.labels.npy"
        splits[name] = Split(
            {k: open_array(p) for k, p in paths.items()},
            _labels(labels),
            prepared=name in facts.get("prepared", ()),
            groups=_labels(folder / f"{name}.groups.npy"),
        )
    preprocess = from_plain(dict[str, Preprocess], facts["preprocess"])
    contract = facts.get("contract")
    data = kind(
        splits, preprocess, tuple(facts["classes"]), facts["seed"], facts["calibration_size"],
        Reading.from_json(facts.get("reading", {})), Contract.from_json(contract) if contract else None,
    )  # fmt: skip
    data.__dict__["digest"] = facts["digest"]
    return data


def _labels(path: Path) -> NDArray[Any] | None:
    """Labels in memory, unless they are large."""
    if not path.exists() and not path.with_suffix(".npz").exists():
        return None
    found = open_array(path)
    return found if is_large(found) else found.copy()
