"""The answers of the original model to training examples, whatever its format."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from deploykit.converters._contract import Job
from deploykit.core.contract import OutputMeaning
from deploykit.data.dataset import Dataset
from deploykit.loading._contract import FORMATS
from deploykit.training.schedule import Schedule
from deploykit.training.targets import Goal, Inputs, Teacher, TwoClasses, Values

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Answers are remembered, since every epoch asks for them again, unless they are larger than this.
_REMEMBERED_BYTES = 512 << 20
#: Examples that show what the answers look like.
_SAMPLE = 64


class Answers:
    """Asks the original model about training examples.

    Args:
        original: The original model.
        data: The data, with the contract if there is one.
        scored: Name of the output that is asked for; "" for the first one.
        schedule: What is trained: what the answers are needed for.
    """

    def __init__(self, original: Job, data: Dataset, scored: str, schedule: Schedule) -> None:
        self._data = data
        self._session = FORMATS.get(original.source_format).open_given(
            original.source, data.contract, imports=original.imports, trusted=original.trusted
        )
        sample = self._session.predict(data.batch("train", schedule.examples[:_SAMPLE]))
        self.name = scored if scored in sample else next(iter(sample))
        self.sample = sample[self.name]
        self._row: dict[int, int] = {}
        self._rows: Any = None
        count = len(schedule.examples) + (0 if schedule.held_out is None else len(schedule.held_out))
        if self.sample.nbytes / len(self.sample) * count < _REMEMBERED_BYTES:
            self._remember(schedule)

    def _remember(self, schedule: Schedule) -> None:
        import numpy as np

        index = np.concatenate([part for part in (schedule.examples, schedule.held_out) if part is not None])
        parts = [index[start : start + _SAMPLE] for start in range(0, len(index), _SAMPLE)]
        with closing(self._session):
            found = [self._session.predict(self._data.batch("train", np.sort(part)))[self.name] for part in parts]
        self._rows = np.concatenate(found)
        self._row = {int(i): row for row, i in enumerate(i for part in parts for i in np.sort(part))}

    def __call__(self, index: NDArray[np.int64], inputs: Inputs) -> NDArray[Any]:
        """The answers to some training examples."""
        del inputs
        if self._rows is None:
            return self._session.predict(self._data.batch("train", index))[self.name]
        found: NDArray[Any] = self._rows[[self._row[int(i)] for i in index]]
        return found


def goal(answers: Answers, meaning: OutputMeaning | None, temperature: float) -> Goal:
    """What comparing with the answers means.

    Args:
        answers: The answers.
        meaning: What the output means, by the contract; None: what a sample of it looks like.
        temperature: What class scores are softened by.
    """
    kind = meaning.kind if meaning is not None else _looks_like(answers.sample)
    axis = -1 if meaning is None else meaning.class_axis
    if kind in ("scores", "probabilities"):
        return Teacher(answers, temperature, probabilities=kind == "probabilities", axis=axis)
    if kind in ("logit", "probability", "several"):
        return TwoClasses(answers, temperature, probabilities=kind != "logit")
    return Values(answers, variance=float(answers.sample.var()) or 1.0)


def _looks_like(sample: NDArray[Any]) -> str:
    import numpy as np

    if sample.ndim > 1 and sample.shape[-1] > 1 and (sample >= 0).all() and np.allclose(sample.sum(-1), 1, atol=1e-3):
        return "probabilities"
    return "values"
