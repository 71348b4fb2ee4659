"""Attacks on the candidates of a sweep: what is made once against the original, and what each candidate is asked."""

from __future__ import annotations

import os
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.candidate import Target
from deploykit.core.digest import json_digest
from deploykit.core.errors import DeploykitError
from deploykit.engines._contract import Running
from deploykit.measuring.attacks import QUERIES, Aim, Attacked, places
from deploykit.planning.finished import Built
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sandbox.task import Task
from deploykit.sweeping.workshop import Workshop

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Raised when attacks change: old records are then made again.
_VERSION = 1
_FILE = "transferred.npy"


class Attacks:
    """Starts attacks and keeps what they found in the store.

    Args:
        workshop: Of the model and its data.
        running: The engine.
        count: Examples to attack.
        strength: Largest change of a value, as a share of the range of all values.
        seed: Of the choice of examples and of the attacks.
    """

    def __init__(self, workshop: Workshop, running: Running, count: int, strength: float, seed: int) -> None:
        self._workshop, self._running = workshop, running
        self._aim: dict[str, Any] = {"count": count, "strength": strength, "seed": seed}
        self._checked = False

    def check(self) -> None:
        """Raise `DatasetError` if the model cannot be attacked."""
        if not self._checked:
            Aim.of(self._workshop.data, self._workshop.contract, 1, 0.0, 0)
            self._checked = True

    @property
    def groups(self) -> NDArray[Any] | None:
        """What each example that is attacked is a part of; None where they stand for themselves."""
        split = self._workshop.data.splits["evaluation"]
        return None if split.groups is None else split.groups[places(len(split), self._aim["count"], self._aim["seed"])]

    # -- against the original ------------------------------------------------------------------------------------------

    @property
    def made_key(self) -> str:
        """Key of the examples made against the original."""
        workshop = self._workshop
        return json_digest(
            [_VERSION, workshop.model.digest, workshop.data.digest, workshop.contract.reading, self._aim]
        )

    @property
    def made(self) -> dict[str, Any] | None:
        """What became of these examples, None when they are still to be made."""
        found = self._workshop.store.record("attack", self.made_key)
        return found if found is None or not found["made"] or self._made_file.is_file() else None

    @property
    def _made_file(self) -> Path:
        return self._workshop.store.folder("attacks", self.made_key) / _FILE

    def start_making(self) -> Future[dict[str, Any]]:
        """Submit the making of examples against the original."""
        workshop, model = self._workshop, self._workshop.model
        temporary = self._temporary
        temporary.mkdir(parents=True, exist_ok=True)
        arguments = {
            "path": model.path, "format": model.format, "imports": model.imports, "trusted": model.trusted,
            "data": str(workshop.data_folder), "contract": workshop.contract.to_json(), **self._aim,
            "target": str(temporary / _FILE),
        }  # fmt: skip
        task = Task(
            "deploykit.training.attacks:transfer", arguments, "tensorflow", workshop.limits.timeout_s,
            workshop.limits.memory_bytes, model.imports, workshop.log(self.made_key), "attacking the original model",
            reads=(*workshop.files(Path(model.path)), str(workshop.data_folder)), writes=(str(temporary),),
        )  # fmt: skip
        return self._running.submit(task)

    def finish_making(self, future: Future[dict[str, Any]]) -> None:
        """Keep the examples; without TensorFlow, or for models without gradients, there are none."""
        store = self._workshop.store
        try:
            found = future.result()
        except DeploykitError as error:
            found = {"made": False, "why": error.message}
        if found["made"]:
            store.keep(self._temporary, store.folder("attacks", self.made_key))
        store.put_record("attack", self.made_key, {"made": found["made"], "why": found["why"]})

    @property
    def _temporary(self) -> Path:
        folder = self._workshop.store.folder("attacks", self.made_key)
        return folder.with_name(f"{folder.name}.{os.getpid()}.tmp")

    # -- candidates ----------------------------------------------------------------------------------------------------

    def key(self, evaluation: str) -> str:
        """Key of the attack on what has an evaluation."""
        return json_digest([self.made_key, evaluation, QUERIES])

    def found(self, key: str) -> Attacked | DeploykitError | None:
        """What an attack found, None when it is still to be done."""
        record = self._workshop.store.record("attack", key)
        return None if record is None else Attacked.from_json(record["attacked"])

    def start(self, built: Built, format_name: str, target: Target, key: str) -> Future[dict[str, Any]]:
        """Submit the attack on an artifact."""
        workshop, runtime = self._workshop, RUNTIMES.get(target.runtime)
        path = workshop.path(built)
        made = self._made_file if (self.made or {}).get("made") else None
        arguments = {
            "path": str(path), "format": format_name,
            "target": Target(target.runtime, target.device, batch_size=target.batch_size).to_json(),
            "data": str(workshop.data_folder), "contract": workshop.contract.to_json(), **self._aim,
            "transferred": str(made or ""),
        }  # fmt: skip
        task = Task(
            "deploykit.measuring.attacks:attack", arguments, runtime.group, workshop.limits.timeout_s,
            workshop.limits.memory_bytes, workshop.model.imports, workshop.log(key), "attack",
            fresh=runtime.fresh_process, devices=() if target.device == "cpu" else (target.device,), on_target=True,
            reads=(*workshop.files(path), str(workshop.data_folder), *([str(made)] if made else [])),
        )  # fmt: skip
        return self._running.submit(task)

    def finish(self, key: str, future: Future[dict[str, Any]]) -> Attacked | DeploykitError:
        """Keep what an attack found, or why it failed."""
        try:
            found = future.result()
        except DeploykitError as error:
            return error
        self._workshop.store.put_record("attack", key, found)
        return Attacked.from_json(found["attacked"])
