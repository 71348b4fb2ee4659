"""Build steps and evaluations: shared work that is done once and kept."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from deploykit.core.candidate import Target
from deploykit.core.check import Examined
from deploykit.core.contract import Declared
from deploykit.core.errors import (
    Cancelled,
    DeploykitError,
    EngineError,
    StoreError,
    to_json,
)
from deploykit.core.model import Model
from deploykit.core.result import Failure
from deploykit.core.security.keyed import KeyedPlace
from deploykit.data.dataset import Dataset
from deploykit.engines._contract import OnReport, Running
from deploykit.loading._contract import FORMATS
from deploykit.measuring.examination.examining import REFERENCE, sample
from deploykit.measuring.outputs import evaluation_task
from deploykit.measuring.racing import Race
from deploykit.planning.examination import examination_task
from deploykit.planning.finished import Built, Finished
from deploykit.planning.limits import Limits
from deploykit.planning.steps import BuildStep
from deploykit.sandbox.task import Task
from deploykit.storage.database import failure as failure_of
from deploykit.storage.store import Store
from deploykit.sweeping import given_files
from deploykit.transforms._contract import TRANSFORMS

#: What ends the sweep instead of failing the candidate, so that the next sweep tries it again.
ENDS_THE_SWEEP = (Cancelled, EngineError, StoreError)


class Workshop(Finished):
    """Runs build steps and evaluations of one model and dataset, and keeps their records in the store.

    Args:
        store: Where everything is kept.
        running: The engine.
        model: The original model.
        data: The data, checked.
        seed: Seed of the transforms.
        limits: Limits of child processes.
        declared: What the user says of the signature.
    """

    def __init__(
        self,
        store: Store,
        running: Running,
        model: Model,
        data: Dataset,
        seed: int,
        limits: Limits,
        declared: Declared | None = None,
    ) -> None:
        super().__init__(store, model, data, declared)
        self._running = running
        self._seed = seed
        self._limits = limits

    @property
    def limits(self) -> Limits:
        """Limits of child processes."""
        return self._limits

    def save_data(self) -> None:
        """Write the dataset for the children, once."""
        if not (self.data_folder / "dataset.json").exists():
            self._write_data()
        if self.data.is_large:
            self.data = Dataset.open(self.data_folder)  # what is read of it here comes from there

    def _write_data(self) -> None:
        temporary = self.data_folder.with_name(f"{self.data_folder.name}.{os.getpid()}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir(mode=0o700)  # the data must not be read while they are written, either
            self.data.save(temporary)
            self.store.keep(temporary, self.data_folder)
        except OSError as error:
            raise failure_of(self.store.path, error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    # -- the original model -----------------------------------------------------------------------------------------

    def _start_given(self) -> Future[dict[str, Any]]:
        """Submit the examination of the original model, and the sizes of its file."""
        data, answers = self._given_folders
        self._drop_given()
        answers.mkdir(parents=True)
        try:
            sample(self.data).save(data)
        except DeploykitError:
            self._drop_given()
            raise
        task = examination_task(self.model, data, answers, self.declared, self._limits)
        return self._running.submit(
            replace(
                task, function="deploykit.sweeping.work:given", log=self.log(self.given_key),
                reads=(*self.files(Path(self.model.path)), str(data)), writes=(str(answers),),
            )
        )  # fmt: skip

    @property
    def _given_folders(self) -> tuple[Path, Path]:
        """Where the sample and what the original model answers are put at first."""
        name = f"{self.reference.name}.{os.getpid()}"
        return self.reference.with_name(f"{name}.tmp"), self.reference.with_name(f"{name}.answers.tmp")

    def _drop_given(self) -> None:
        for folder in self._given_folders:
            shutil.rmtree(folder, ignore_errors=True)

    def _keep_given(self, found: dict[str, Any]) -> None:
        data, answers = self._given_folders
        (answers / REFERENCE).replace(data / REFERENCE)
        shutil.rmtree(answers, ignore_errors=True)
        self.store.keep(data, self.reference)
        self.store.put_record("examined", self.given_key, found["examined"])
        self.seen = Examined.from_json(found["examined"])

    # -- build steps ------------------------------------------------------------------------------------------------

    def start_step(
        self, step: BuildStep | None, source: Path, on_report: OnReport | None = None
    ) -> Future[dict[str, Any]]:
        """Submit a step whose input is built."""
        if step is None:
            return self._start_given()
        temporary = self._temporary(step)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        taught = "teacher" in step.needs
        needs_data, proved = step.needs_data, step.kind == "convert" and (self.reference / REFERENCE).is_file()
        file = given_files.place(self.store, step)
        arguments = {
            "step": step.to_json(),
            "source": str(source),
            "target": str(temporary / self._file_name(step)),
            "imports": self.model.imports,
            "trusted": self.model.trusted,
            "data": str(self.data_folder) if needs_data else "",
            "teacher": self.model.path if taught else "",
            "teacher_format": self.model.format if taught else "",
            "file": str(file or ""),
            "secret": _secret(step),
            "scored": self.contract.scored.name if needs_data else "",
            "reference": str(self.reference) if proved else "",
            "contract": self.contract.to_json() if proved else None,
            "half": self.examined.half,
            "seed": self._seed if step.seeded else 0,
        }
        folders = [*([str(self.data_folder)] if needs_data else []), *([str(self.reference)] if proved else [])]
        folders += self.files(Path(self.model.path)) if taught else ()
        folders += [str(file)] if file else []
        task = Task(
            "deploykit.sweeping.work:build_step", arguments, step.group, self._limits.timeout_s,
            self._limits.memory_bytes, self.model.imports, self.log(step.key), step.words,
            reads=(*self.files(source), *folders), writes=(str(temporary),), on_target=step.kind == "compile",
        )  # fmt: skip
        return self._running.submit(task, on_report)

    def finish_step(self, step: BuildStep | None, future: Future[dict[str, Any]]) -> Built | DeploykitError:
        """Keep what a step made, or why it failed.

        Raises:
            Cancelled: The user cancelled; nothing is recorded.
            EngineError: No machine could do it; nothing is recorded.
            StoreError: There is no room for the result; nothing is recorded.
        """
        key = step.key if step else self.given_key
        try:
            found = future.result()
        except ENDS_THE_SWEEP:
            if step is None:
                self._drop_given()
            raise
        except DeploykitError as error:
            if step:
                shutil.rmtree(self._temporary(step), ignore_errors=True)
            else:
                self._drop_given()
            self.store.check_room()
            self.store.put_record("step", key, {"error": to_json(error)})
            return error
        if step is None:
            path = self.model.path
            self._keep_given(found)
        else:
            final = self.store.folder("steps", key)
            self.store.keep(self._temporary(step), final)
            path = self.store.relative(final / self._file_name(step))
        lost = {"lost_workers": found["lost_workers"]} if found.get("lost_workers") else {}
        notes = {**found["notes"], **lost}
        seconds = found.get("seconds", 0.0)
        built = Built(path, found["digest"], found["size_bytes"], found["compressed_bytes"], notes, seconds)
        self.store.put_record("step", key, built.to_json())
        return built

    def _temporary(self, step: BuildStep) -> Path:
        folder = self.store.folder("steps", step.key)
        return folder.with_name(f"{folder.name}.{os.getpid()}.tmp")

    def _file_name(self, step: BuildStep) -> str:
        if step.kind == "prepare":
            return step.stage
        if step.kind == "compile":
            return step.format
        suffixes = FORMATS.get(step.format).suffixes
        return f"model{suffixes[0]}" if suffixes else step.format

    # -- evaluations ------------------------------------------------------------------------------------------------

    def start_evaluation(
        self,
        built: Built,
        format_name: str,
        target: Target,
        original: str = "",
        race: Race | None = None,
        on_report: OnReport | None = None,
    ) -> Future[dict[str, Any]]:
        """Submit the evaluation of an artifact, which a race may stop early.

        Args:
            built: The artifact.
            format_name: Its format.
            target: Where it runs.
            original: Key of the original's evaluation, with which other outputs are compared; "" for the original.
            race: What may stop it.
            on_report: Called with the progress in examples.
        """
        key, path = self.evaluation_key(built, target), self.path(built)
        splits = [s for s in ("evaluation", "test") if len(self.data.splits[s])]
        written = {s: self.outputs_path(key, s) for s in splits}
        others = {
            o.name: self.outputs_path(original or key, f"evaluation.{i}") for i, o in enumerate(self.contract.judged)
        }
        read = [str(p) for p in others.values()] if original else []
        made = [str(p) for p in (*written.values(), *(() if original else others.values()))]
        task = replace(
            evaluation_task(
                path, format_name, target, self.data_folder, self.contract, written, others, original=not original,
                imports=self.model.imports, race=race,
            ),
            deadline_s=self._limits.timeout_s, memory_bytes=self._limits.memory_bytes, log=self.log(key),
            reads=(*self.files(path), str(self.data_folder), *read, *([race.original] if race else [])),
            writes=tuple(made),
            devices=() if target.device == "cpu" else (target.device,), on_target=True,
        )  # fmt: skip
        return self._running.submit(task, on_report)

    def finish_evaluation(self, key: str, future: Future[dict[str, Any]]) -> dict[str, Any] | DeploykitError:
        """Keep an evaluation's record, or why it failed.

        Raises:
            Cancelled: The user cancelled; nothing is recorded.
            EngineError: No machine could do it; nothing is recorded.
            StoreError: There is no room for the outputs; nothing is recorded.
        """
        try:
            found = future.result()
        except ENDS_THE_SWEEP:
            raise
        except DeploykitError as error:
            self.store.check_room()
            self.store.put_record("evaluation", key, {"error": to_json(error)})
            return error
        record = {**found, "splits": [s for s in ("evaluation", "test") if self.outputs_path(key, s).exists()]}
        self.store.put_record("evaluation", key, record)
        return record

    def log(self, key: str) -> str:
        """Log file of a step or evaluation."""
        return str(self.store.path / "logs" / f"{key[:24]}.log")


def _secret(step: BuildStep) -> str:
    """The key whose place the step's parameters name: it goes through the pipe of the child, and into no file."""
    if step.kind != "transform" or not (name := TRANSFORMS.get(step.adapter).keyed):
        return ""
    place = KeyedPlace.read(step.parameters[name])
    return "" if place is None else place.key().text


def failure(error: DeploykitError, stage: str, store: Store) -> Failure:
    """The row's account of an error."""
    log = Path(error.log) if error.log else None
    if log is not None and not (log.is_file() and log.stat().st_size):  # nothing was written down
        log = None
    shown = "" if log is None else store.relative(log) if log.is_relative_to(store.path) else str(log)
    more = f"read {shown}, and " if shown else ""
    remedy = error.remedy or f"{more}try other settings, or leave this candidate out."
    return Failure(stage, type(error).__name__, error.message, remedy, shown)
