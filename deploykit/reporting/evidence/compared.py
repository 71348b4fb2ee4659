"""A candidate of a sweep beside another: their answers, weights and graphs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from deploykit.core.errors import DeploykitError, SettingError
from deploykit.core.result import Result
from deploykit.measuring.answers import read_as
from deploykit.measuring.exportable import Exportable
from deploykit.measuring.padding import tokens
from deploykit.reporting.evidence import (
    boxes,
    by_length,
    calibration,
    class_changes,
    flips,
    graph_diff,
    positions,
    weights,
    why,
)
from deploykit.reporting.evidence.by_length import Lengths
from deploykit.reporting.evidence.calibration import Calibration
from deploykit.reporting.evidence.class_changes import ClassChanges
from deploykit.reporting.evidence.flips import Flips
from deploykit.reporting.evidence.graph_diff import GraphDiff
from deploykit.reporting.evidence.outputs import are_kept, outputs_of
from deploykit.reporting.evidence.weights import Weights
from deploykit.reporting.evidence.why import Why
from deploykit.reporting.swept import Swept
from deploykit.sandbox.supervisor import OnReport

if TYPE_CHECKING:
    import threading

    from numpy.typing import NDArray

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Compared:
    """A candidate and what the original, or another candidate, is beside it. `Picked` adds the goal.

    Attributes:
        report: What it is from.
        result: Its row.
    """

    report: Swept
    result: Result

    @property
    def key(self) -> str:
        """The candidate's key."""
        return self.result.key

    def exportable(self) -> Exportable:
        """File and facts, for `deploykit.export`."""
        raise NotImplementedError

    def outputs(self, split: str = "evaluation", *, on_report: OnReport | None = None) -> NDArray[Any]:
        """The scored output for all examples of a split, in order, as the model returns it: shape (examples, …).

        The store keeps it for every candidate that was fully evaluated. If a candidate was stopped early or its outputs
        were removed, the file is run again in a child process, and the outputs are kept.

        Args:
            split: ``"evaluation"`` or ``"test"``.
            on_report: Called with (done, total, words) while the file is run.

        Raises:
            CandidateError: The candidate has no file, or its file is gone.
            SettingError: An unknown split.
        """
        return outputs_of(self.report, self.result, split, self.exportable, on_report)

    def scores(self, split: str = "evaluation", *, on_report: OnReport | None = None) -> NDArray[Any]:
        """The scored output as metrics read it: scores with the classes last, class numbers, or plain numbers.

        Args:
            split: See `outputs`.
            on_report: See `outputs`.
        """
        return read_as(self.outputs(split, on_report=on_report), self.report.contract)

    def flips(
        self, against: Compared | None = None, *, split: str = "evaluation", on_report: OnReport | None = None
    ) -> Flips:
        """Examples whose answer this candidate changes; if outputs are numbers, those whose error grew most.

        Without labels, the latter are the examples whose outputs differ most.

        Args:
            against: What it is compared with; None: the original model.
            split: ``"evaluation"`` or ``"test"``.
            on_report: See `outputs`.

        Raises:
            CandidateError: Outputs are missing and cannot be made; see `outputs`.
            SettingError: ``against`` belongs to a different model or different data.
        """
        meaning, labels = self.report.contract.scored, self.report.contract.labels
        data = self.report.data
        places = labels.kind == "positions" or (labels.kind == "none" and len(meaning.shape or ()) > 2)
        find = (
            boxes.find if meaning.kind == "boxes"
            else partial(positions.find, present=tokens(data, split, self.scores(split, on_report=on_report)))
            if meaning.is_classes and places
            else flips.find
        )  # fmt: skip
        return self._compared(find, against, split, on_report)

    def classes(
        self, against: Compared | None = None, *, split: str = "evaluation", on_report: OnReport | None = None
    ) -> ClassChanges:
        """The gain or loss per class, with paired intervals, greatest loss first.

        Args:
            against: What it is compared with; None: the original model.
            split: ``"evaluation"`` or ``"test"``.
            on_report: See `outputs`.

        Raises:
            DatasetError: Answers are not classes.
            CandidateError: Outputs are missing and cannot be made; see `outputs`.
            SettingError: ``against`` belongs to a different model or different data.
        """
        groups = self.report.data.splits[split].groups
        find = partial(class_changes.compare, metric=self.report.metric, groups=groups)
        return self._compared(find, against, split, on_report)

    def calibration(
        self, against: Compared | None = None, *, split: str = "evaluation", on_report: OnReport | None = None
    ) -> Calibration:
        """Whether confidences still say how often it is right: the calibration error before and after.

        Args:
            against: What it is compared with; None: the original model.
            split: ``"evaluation"`` or ``"test"``.
            on_report: See `outputs`.

        Raises:
            DatasetError: There are no confidences, or no labels.
            CandidateError: Outputs are missing and cannot be made; see `outputs`.
            SettingError: ``against`` belongs to a different model or different data.
        """
        find = partial(calibration.compare, groups=self.report.data.splits[split].groups)
        return self._compared(find, against, split, on_report)

    def lengths(self, split: str = "evaluation") -> Lengths:
        """Latency and quality by the length of its inputs, where its target names lengths; see ``Target.lengths``.

        Latency at a length is that of inputs cut to it, or filled up to it. Quality is that of the examples of the
        split whose own length, without padding, lies between the length before and this one.

        Args:
            split: ``"evaluation"`` or ``"test"``.

        Raises:
            CandidateError: It was not timed by length.
        """
        original, _ = self._other(None)
        return by_length.by_length(
            self.report, self.result, lambda: (self.scores(split), original.scores(split)), split
        )

    def changed(self) -> list[str]:
        """What it changes in the answers to the evaluation split, in sentences: flips, classes, calibration.

        Only outputs that the store has kept are read; [] without them, and for the original model.
        """
        before = self.report.row(self.report.baseline)
        if self.key == before.key or not all(are_kept(self.report, row) for row in (before, self.result)):
            return []
        said = []
        for look in (self.flips, self.classes, self.calibration):
            with suppress(DeploykitError):  # outputs are not of that kind, or the data are gone
                said.append(look().summary())
        return said

    def weights(self, against: Compared | None = None, *, on_report: OnReport | None = None) -> Weights:
        """Sparsity and histograms of its weight tensors before and after; the files are read in a child process.

        Args:
            against: What it is compared with; None: the original model, in the candidate's format if the sweep has
                built it.
            on_report: Called with (done, total, words) while the files are read.

        Raises:
            CandidateError: A file is not in the store, or cannot be read.
            UnsupportedModelError: Weights in this format cannot be read.
        """
        other = (against.report, against.result) if against is not None else None
        return weights.compare(self.report, self.result, other, on_report)

    def graph_diff(
        self,
        against: Compared | None = None,
        *,
        on_report: OnReport | None = None,
        cancel: threading.Event | None = None,
    ) -> GraphDiff:
        """Its graph and the original's as one diff, with the error of each node's output on calibration examples.

        Both graphs are read and run in a child process; the store keeps the result. Nodes belong together by their
        weights, by their names, by layers' names between formats, and by their place in the graph; each row says how.

        Args:
            against: What it is compared with; None: the original model, in the candidate's format if the sweep has
                built it.
            on_report: Called with (done, total, words) while the graphs are compared.
            cancel: Set it to stop.

        Raises:
            CandidateError: A file is not in the store, or cannot be read.
            Cancelled: ``cancel`` was set.

        Example:
            >>> space = dk.Space([dk.Recipe((dk.Step("quantize_static"),))], [dk.Target("onnxruntime")])
            >>> report = dk.sweep(model, data, space, store="runs/diff", launches=0)
            [...
            >>> diff = report.best(minimize="size", max_drop=1.0).graph_diff()
            >>> diff.counts["added"] > 0, bool(diff.to_frame()["error"].max() > 0)
            (True, True)
        """
        other = (against.report, against.result) if against is not None else None
        return graph_diff.compare(self.report, self.result, other, on_report, cancel)

    def why(self) -> Why:
        """Why it is faster or slower: the cause in one line, and microseconds per layer before and after.

        Without a profile, the rows are the float32 model's shares of time on another runtime, marked as an estimate.
        Without any profile in the report, there are no rows, and ``note`` says so.
        """
        return why.explain(self.report, self.result)

    def _compared(
        self, compare: Callable[..., _Found], against: Compared | None, split: str, on_report: OnReport | None
    ) -> _Found:
        """What a comparison of scored outputs with those of another candidate finds."""
        other, words = self._other(against)
        data = self.report.data
        return compare(
            self.scores(split, on_report=on_report), other.scores(split, on_report=on_report), data.labels(split),
            data.classes, meaning=self.report.contract.scored, split=split, against=words,
        )  # fmt: skip

    def _other(self, against: Compared | None) -> tuple[Compared, str]:
        """What this is compared with, and in words."""
        if against is None or (against.key == self.report.baseline and against.report.path == self.report.path):
            return replace(self, result=self.report.row(self.report.baseline)), "the original model"
        ours, theirs = self.report.facts, against.report.facts
        if against.report is not self.report and (ours["model"]["digest"], self.report.data.digest) != (
            theirs["model"]["digest"],
            against.report.data.digest,
        ):
            raise SettingError(
                f"{against.key} belongs to a different model or different data than {self.key}.",
                remedy="compare candidates of one sweep.",
            )
        return against, f"{against.result.label} on {against.result.candidate.target.runtime}"
