"""Progress of training, in the words of every trainer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deploykit.core.errors import CandidateError
from deploykit.sandbox.task import Report
from deploykit.training.schedule import Schedule

_MESSAGES = 100
#: Averages of batch statistics must follow the weights within the few hundred steps there are.
MOMENTUM = 0.9


@dataclass
class Progress:
    """Counts steps and reports some of them.

    Attributes:
        schedule: What is trained.
        report: Called with (done, total, words).
        done: Steps done.
    """

    schedule: Schedule
    report: Report
    done: int = 0

    def step(self) -> None:
        """One step is done."""
        steps, per_epoch = self.schedule.steps, self.schedule.steps_per_epoch
        self.done += 1
        if self.done % max(1, steps // _MESSAGES) == 0 or self.done == steps:
            epoch = -(-self.done // per_epoch)
            self.report(self.done, steps, f"steps of fine-tuning, epoch {epoch} of {self.schedule.epochs}")


@dataclass(frozen=True)
class Trained:
    """What training has done.

    Attributes:
        loss: Name of the loss.
        loss_by_epoch: Its mean over each epoch.
        held_out_by_epoch: Its mean over the examples that are held out after each epoch; () when none are.
        unchanged: The weights of the start were kept, since that mean became no smaller.
    """

    loss: str
    loss_by_epoch: tuple[float, ...]
    held_out_by_epoch: tuple[float, ...] = ()
    unchanged: bool = False

    @classmethod
    def checked(
        cls, loss: str, loss_by_epoch: Sequence[float], held_out: Sequence[float] = (), *, unchanged: bool = False
    ) -> Trained:
        """The result, or `CandidateError` when a loss is not finite."""
        found = tuple(float(value) for value in loss_by_epoch)
        if not all(map(math.isfinite, found)):
            raise CandidateError(
                f"Fine-tuning diverged: the loss is {found[-1]}.", remedy="lower learning_rate, or raise batch_size."
            )
        return cls(loss, found, tuple(held_out), unchanged)

    @property
    def notes(self) -> dict[str, Any]:
        """For the report."""
        found: dict[str, Any] = {"loss": self.loss, "loss_by_epoch": [round(v, 5) for v in self.loss_by_epoch]}
        if self.held_out_by_epoch:
            found["held_out_by_epoch"] = [round(value, 5) for value in self.held_out_by_epoch]
        if self.unchanged:
            found["unchanged"] = "training did not lower the loss of the examples that were held out"
        return found
