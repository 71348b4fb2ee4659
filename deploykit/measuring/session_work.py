"""Tasks that run in a child: one opened model, evaluated on whole splits."""

from __future__ import annotations

import time
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from deploykit.core.candidate import Target
from deploykit.core.contract import Contract
from deploykit.core.errors import CandidateError
from deploykit.core.mapped import open_mapped
from deploykit.data.dataset import Dataset
from deploykit.data.splits import shuffled
from deploykit.data.texts import fixed_width, with_objects, without_objects
from deploykit.measuring.answers import scored_of
from deploykit.measuring.dependence import EXAMPLES, depends_on_batch
from deploykit.measuring.examination.examining import without_rows
from deploykit.measuring.judging import Judging
from deploykit.measuring.padding import tokens_of
from deploykit.measuring.racing import Race, Racer, Stopped
from deploykit.measuring.written import Written
from deploykit.runtimes._contract import RUNTIMES
from deploykit.runtimes._session import Session
from deploykit.sandbox.task import Report

_EVALUATION_BATCH = 32
#: Progress is reported this often: each report costs the driver about as much as a small model costs for a batch.
_TELL_S = 0.1


def preload() -> None:
    """Import the adapters of all runtimes."""
    RUNTIMES.preload()


def evaluate(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Run a candidate on whole splits, keep its scored output and judge the others.

    Examples come in a random order that is the same for all candidates: any prefix stands for the whole split. Where
    an answer depends on its batch, examples are run as the target will run them.

    Args:
        arguments: ``path format target data``; ``contract``: plain `Contract`; ``splits``: split → ``.npy`` file to
            write; ``others``: output → ``.npy`` file of the original's output on the evaluation split, which the
            original writes (``original`` is true then) and others are compared with; ``race``: plain `Race`, None for
            no racing.
        report: Progress in examples: at the start, at the end and now and then in between.

    Returns:
        ``batch``, ``batch_dependent`` and ``placed``; ``missing``: share of the scored numbers that are NaN;
        ``others``: output → plain `Judged`; ``stopped``: plain `Stopped`, None when it finished; and its seconds.
    """
    began = time.perf_counter()
    target, contract = Target.from_json(arguments["target"]), Contract.from_json(arguments["contract"])
    session = RUNTIMES.get(target.runtime).open(Path(arguments["path"]), target, arguments["format"], contract)
    work = _Evaluation(session, contract, _data(arguments["data"]), target, arguments, report)
    found = work.run()
    session.close()
    return {**found, "seconds": time.perf_counter() - began}


class _Evaluation:
    """One candidate on whole splits."""

    def __init__(
        self, session: Session, contract: Contract, data: Dataset, target: Target, arguments: dict[str, Any],
        report: Report,
    ) -> None:  # fmt: skip
        self._session = session
        self._contract = contract
        self._data = data
        self._report = report
        self._splits: dict[str, str] = arguments["splits"]
        self._race = arguments.get("race")
        self._others: dict[str, str] = arguments["others"]
        self._original = bool(arguments["original"])
        self._fixed = {o.name for o in contract.judged if o.fixed}
        self._dependent = self._depends()
        self._size = target.batch_size if self._dependent else _EVALUATION_BATCH
        self._total = sum(len(data.splits[s]) for s in self._splits)
        self._done, self._told = 0, time.perf_counter()

    def _depends(self) -> bool:
        split = next(s for s in self._splits if len(self._data.splits[s]))
        return depends_on_batch(self._session, self._data.batch(split, slice(0, EXAMPLES)))

    def run(self) -> dict[str, Any]:
        """All splits."""
        self._report(0, self._total, "examples")
        judgements: dict[str, Any] = {}
        facts: dict[str, Any] = {
            "batch": self._size,
            "batch_dependent": self._dependent,
            "placed": self._session.placed,
            "stopped": None,
            "others": judgements,
        }
        missing = numbers = 0
        for split, out in self._splits.items():
            found, judged, stopped = self._split(split, Path(out))
            if stopped is not None:
                return {**facts, "missing": 0.0, "stopped": stopped.to_json()}
            missing, numbers = missing + found[0], numbers + found[1]
            judgements |= judged
        self._report(self._done, self._total, "examples")
        return {**facts, "missing": missing / numbers if numbers else 0.0}

    def _split(self, split: str, out: Path) -> tuple[tuple[int, int], dict[str, Any], Stopped | None]:
        """Numbers of the scored output that are NaN and all of them, what others were judged, and why it stopped."""
        import numpy as np

        count = len(self._data.splits[split])
        order = shuffled(count, None, self._data.seed)
        first = split == "evaluation"
        racer = _racer(self._race, self._contract, self._data, order) if first else None
        judging = Judging(self._contract.judged, self._others) if first and not self._original else None
        others = self._others if first and self._original else {}
        written = {n: Written(Path(file), 1 if n in self._fixed else count) for n, file in others.items()}
        scored = Written(out, count)
        missing = numbers = 0
        try:
            for start in range(0, count, self._size):
                chosen = order[start : start + self._size]
                batch = self._data.batch(split, chosen)
                found = self._answers(batch, len(chosen))
                values = found[self._contract.scored.name]
                scored.put(chosen, values)
                if values.dtype.kind == "f":
                    missing, numbers = missing + int(np.isnan(values).sum()), numbers + values.size
                for name, other in written.items():
                    if name not in self._fixed:
                        other.put(chosen, found[name])
                    elif not start:
                        other.put(np.zeros(1, np.int64), found[name][:1])
                if judging is not None:
                    judging.add(found, chosen, partial(tokens_of, batch, self._data.preprocess))
                self._tell(len(chosen))
                if racer is not None and (stopped := racer.look(values)) is not None:
                    return (0, 0), {}, stopped
            if count:
                for file in (*written.values(), scored):
                    file.keep()
        finally:
            for file in (*written.values(), scored):
                file.drop()
        judged = {name: j.to_json() for name, j in judging.result().items()} if judging is not None else {}
        return (missing, numbers), judged, None

    def _answers(self, batch: dict[str, Any], count: int) -> dict[str, Any]:
        found = self._session.predict(batch)
        for meaning in (self._contract.scored, *self._contract.judged):
            value = found[meaning.name]
            if value.ndim == 0 or len(value) != count:
                raise without_rows(meaning, value, count, CandidateError)
            found[meaning.name] = fixed_width(value)
        if self._contract.detection is not None:
            found[self._contract.scored.name] = scored_of(found, self._contract)
        return found

    def _tell(self, count: int) -> None:
        self._done += count
        if (now := time.perf_counter()) - self._told >= _TELL_S:
            self._told = now
            self._report(self._done, self._total, "examples")


@lru_cache(maxsize=1)
def _data(folder: str) -> Dataset:
    """The data in a folder, which is named by their digest: a child evaluates many candidates on the same."""
    return Dataset.open(Path(folder))


def _racer(race: dict[str, Any] | None, contract: Contract, data: Dataset, order: Any) -> Racer | None:
    if race is None:
        return None
    wanted = Race.from_json(race)
    return Racer(wanted, data.labels(), open_mapped(Path(wanted.original)), order, contract)


def predict(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Run a model once: ``path format target contract``, preprocessed ``inputs`` (``.npz``) → ``out`` (``.npz``)."""
    import numpy as np

    target = Target.from_json(arguments["target"])
    contract = Contract.from_json(arguments["contract"]) if arguments.get("contract") else None
    session = RUNTIMES.get(target.runtime).open(Path(arguments["path"]), target, arguments["format"], contract)
    with np.load(arguments["inputs"], allow_pickle=False) as file:
        found = session.predict(with_objects({name: file[name] for name in file.files}))
    np.savez(arguments["out"], **without_objects(found))  # type: ignore[arg-type]  # the stub's allow_pickle hides the arrays
    session.close()
    return {"outputs": list(found)}
