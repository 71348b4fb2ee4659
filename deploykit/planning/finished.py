"""Finished work of one model and its data: keys, and what the store has under them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from deploykit.core.candidate import Target
from deploykit.core.check import Examined
from deploykit.core.contract import Contract, Declared
from deploykit.core.errors import DeploykitError, from_json
from deploykit.core.model import Model
from deploykit.core.serial import Plain
from deploykit.data.dataset import Dataset
from deploykit.measuring.examination.examining import REFERENCE
from deploykit.measuring.outputs import evaluation_key, outputs_file
from deploykit.measuring.racing import Race, Stopped
from deploykit.planning.examination import examined_key
from deploykit.planning.steps import BuildStep
from deploykit.storage.store import Store

#: Failures of the machine rather than of the candidate: tried again by the next sweep.
_RETRY = {"CandidateCrash", "CandidateTimeout", "CandidateMemory", "ProcessLost"}


@dataclass(frozen=True)
class Built(Plain):
    """What a build step, or the original model, left on disk.

    Attributes:
        path: The artifact: relative to the store, or absolute for the original model.
        digest: SHA-256.
        size_bytes: Size.
        compressed_bytes: Size after gzip.
        notes: Facts the adapter reported.
        seconds: How long it took.
    """

    path: str
    digest: str
    size_bytes: int
    compressed_bytes: int
    notes: dict[str, Any]
    seconds: float = 0.0


def reported(notes: Iterable[tuple[BuildStep, dict[str, Any]]]) -> dict[str, Any]:
    """What build steps reported, in order, by adapter; of a second step of one adapter, its number is in the name."""
    found: dict[str, Any] = {}
    for step, said in notes:
        if said:
            count = sum(name.split()[0] == step.adapter for name in found)
            found[f"{step.adapter} {count + 1}" if count else step.adapter] = said
    return found


class Finished:
    """Looks up what was done; starts nothing.

    Args:
        store: Where everything is kept.
        model: The original model.
        data: The data, checked.
        declared: What the user says of the signature.
    """

    def __init__(self, store: Store, model: Model, data: Dataset, declared: Declared | None = None) -> None:
        self.store = store
        self.model = model
        self.data = data
        self.declared = declared or Declared()
        self.data_folder = store.folder("data", data.digest)
        #: The examination, once it is known.
        self.seen: Examined | None = None
        self._evaluation_keys: dict[tuple[str, str, str, int], str] = {}

    # -- the original model -----------------------------------------------------------------------------------------

    @property
    def examined(self) -> Examined:
        """The original model, run on a few examples; before that, what file and data show."""
        if self.seen is None:
            record = self.store.record("examined", self.given_key)
            if record is None or not (self.reference / REFERENCE).is_file():
                return Examined(self.data.checked)
            self.seen = Examined.from_json(record)
        return self.seen

    @property
    def contract(self) -> Contract:
        """What everything is taken to mean."""
        return self.examined.contract

    @property
    def reference(self) -> Path:
        """Folder with a sample of the data and what the original model answers."""
        return self.store.folder("reference", self.given_key)

    @cached_property
    def given_key(self) -> str:
        """Key of the original model's examination and of reading it."""
        return examined_key(self.model, self.data, self.declared)

    # -- build steps ------------------------------------------------------------------------------------------------

    def built(self, step: BuildStep | None) -> Built | DeploykitError | None:
        """What a step has left, why it failed, or None when it is still to do. None means the original model."""
        key = step.key if step else self.given_key
        record = self.store.record("step", key)
        if record is None or (step is None and not self.examined.contract.observed and "error" not in record):
            return None
        if "error" in record:
            return None if record["error"]["type"] in _RETRY else from_json(record["error"])
        found = Built.from_json(record)
        if step is None:  # the same content may have been read from another place, where something else lies now
            found = replace(found, path=self.model.path)
        return found if self.path(found).exists() else None

    def path(self, built: Built) -> Path:
        """Where an artifact is."""
        return self.store.path / built.path

    def files(self, path: Path) -> tuple[str, ...]:
        """The files and folders an artifact consists of: a step's folder, or the original model."""
        if path.is_relative_to(self.store.path / "steps"):
            return (str(path.parent),)
        return (str(path), *self.model.extra_files)

    # -- evaluations ------------------------------------------------------------------------------------------------

    def evaluation_key(self, built: Built, target: Target) -> str:
        """Key of the outputs of an artifact on a runtime and device: threads change no output."""
        identity = (built.digest, target.runtime, target.device, target.batch_size)
        if identity not in self._evaluation_keys:  # asked for whenever something is done
            found = evaluation_key(built.digest, target, self.data.digest, self.contract)
            if not self.contract.observed:
                return found
            self._evaluation_keys[identity] = found
        return self._evaluation_keys[identity]

    def evaluated(self, key: str, race: Race | None = None) -> dict[str, Any] | DeploykitError | None:
        """The record of an evaluation, why it failed, or None when it is still to do.

        One that was stopped counts only for a race that would stop it as well.
        """
        record = self.store.record("evaluation", key)
        if record is None:
            return None
        if "error" in record:
            return None if record["error"]["type"] in _RETRY else from_json(record["error"])
        if record.get("stopped"):
            return record if race is not None and race.stops(Stopped.from_json(record["stopped"])) else None
        return record if all(self.outputs_path(key, s).exists() for s in record["splits"]) else None

    def outputs_path(self, key: str, split: str) -> Path:
        """File of the outputs of an evaluation."""
        return outputs_file(self.store.path, key, split)
