"""The answers of the original model to training examples, whatever its format."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

from deploykit.converters._contract import Job
from deploykit.core.contract import OutputMeaning
from deploykit.core.errors import UnsupportedModelError
from deploykit.data.batch import Batch
from deploykit.data.dataset import Dataset
from deploykit.loading._contract import FORMATS
from deploykit.training.schedule import Schedule
from deploykit.training.targets import Logits, Teacher, TrainingGoal, TwoClasses, Values

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Answers are remembered, since every epoch asks for them again, unless they are larger than this.
_REMEMBERED_BYTES = 512 << 20
#: Examples that show what the answers look like.
_SAMPLE = 64


class Asked(Protocol):
    """What answers: the original model, or a part of it."""

    def predict(self, feeds: dict[str, NDArray[Any]], /) -> dict[str, NDArray[Any]]:
        """The answers to some examples, by name."""

    def close(self) -> None:
        """No more is asked."""


def opened(original: Job, data: Dataset, *, often: bool = False) -> Asked:
    """The original model.

    Args:
        original: The original model.
        data: The data, with the contract if there is one.
        often: Whether it is asked at each step.
    """
    session = FORMATS.get(original.source_format).open_given(
        original.source, data.contract, imports=original.imports, trusted=original.trusted
    )
    if often:
        session.hasten()
    return session


class Answers:
    """Asks the original model about training examples.

    Args:
        session: The original model, or a part of it.
        data: The data, with the contract if there is one.
        schedule: What is trained: what the answers are needed for.

    Attributes:
        samples: Some answers, by the names of outputs.
    """

    def __init__(self, session: Asked, data: Dataset, schedule: Schedule) -> None:
        import numpy as np

        self._data, self._session = data, session
        asked_again = () if schedule.changes else (schedule.examples,)
        apart = () if schedule.held_out is None else (schedule.held_out,)
        self._index = np.concatenate([np.empty(0, np.int64), *asked_again, *apart])
        self._open = schedule.changes
        # Not more at once than in training: what lies between the layers is held for all of them.
        self._size = min(_SAMPLE, schedule.batch_size)
        few = self._index[: min(_SAMPLE, len(schedule.examples))]
        self.samples = self._answers(np.sort(few))
        self._last: tuple[Batch, dict[str, NDArray[Any]]] | None = None
        self._row: dict[int, int] = {}
        self._rows: dict[str, NDArray[Any]] = {}
        size = sum(sample.nbytes for sample in self.samples.values()) / len(few)
        if len(self._index) and size * len(self._index) < _REMEMBERED_BYTES:
            self._remember()

    def _remember(self) -> None:
        import numpy as np

        order = np.sort(self._index)
        with nullcontext() if self._open else closing(self._session):
            self._rows = self._answers(order)
        self._row = {int(i): row for row, i in enumerate(order)}

    def _answers(self, index: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The answers to training examples, by the names of outputs."""
        import numpy as np

        parts = [index[start : start + self._size] for start in range(0, len(index), self._size)]
        found = [self._session.predict(self._data.batch("train", part)) for part in parts]
        return {name: np.concatenate([answers[name] for answers in found]) for name in found[0]}

    def ask(self, name: str) -> Callable[[Batch], Any]:
        """What gives an output for training examples."""

        def asked(batch: Batch) -> Any:
            if name in self._rows and not batch.changed:
                return self._rows[name][[self._row[int(i)] for i in batch.index]]
            if self._last is None or self._last[0] is not batch:  # all outputs of a batch are asked for one by one
                self._last = batch, self._session.predict(dict(batch.inputs))
            return self._last[1][name]

        return asked

    def goals(self, temperature: float, loss: str = "auto") -> dict[str, TrainingGoal]:
        """What comparing with the answers means, for each output of real numbers.

        Args:
            temperature: What class scores are softened by.
            loss: One of `deploykit.training.choices.COMPARISONS`.

        Raises:
            UnsupportedModelError: The loss does not fit an output; names it.
        """
        contract = self._data.contract
        meanings = {} if contract is None else {o.name: o for o in contract.outputs}
        found = {}
        for name, sample in self.samples.items():
            meaning = meanings.get(name)
            alike = meaning is not None and (meaning.fixed or meaning.role == "state" or meaning.shape == ())
            if sample.dtype.kind == "f" and not alike:
                found[name] = self._goal(name, meaning, temperature, loss)
        return found

    def _goal(self, name: str, meaning: OutputMeaning | None, temperature: float, loss: str) -> TrainingGoal:
        sample, ask = self.samples[name], self.ask(name)
        kind = meaning.kind if meaning is not None else looks_like(sample)
        axis = -1 if meaning is None else meaning.class_axis
        classes, alone = kind in ("scores", "probabilities"), kind in ("logit", "probability", "several")
        if loss == "kl" and not (classes or alone):
            raise UnsupportedModelError(
                f"The loss kl compares class scores, but the output {name!r} gives values.",
                remedy='choose loss="mse", or "auto", which compares each output as it should be.',
            )
        if loss == "mse" and (classes or alone):
            return Logits.of(ask, sample, probabilities=kind not in ("scores", "logit"), axis=axis if classes else None)
        if classes:
            return Teacher(ask, temperature, probabilities=kind == "probabilities", axis=axis)
        if alone:
            return TwoClasses(ask, temperature, probabilities=kind != "logit")
        return Values(ask, variance=float(sample.var()) or 1.0)


def looks_like(sample: NDArray[Any]) -> str:
    """The kind of an output that nothing is known of but some values."""
    import numpy as np

    if sample.ndim > 1 and sample.shape[-1] > 1 and (sample >= 0).all() and np.allclose(sample.sum(-1), 1, atol=1e-3):
        return "probabilities"
    return "values"
