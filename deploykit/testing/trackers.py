"""What every experiment tracker must do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploykit.core.errors import SettingError
from deploykit.trackers._contract import TRACKERS, Experiment, Trial


def experiment(export: Any = None, **changes: Any) -> Experiment:
    """A sweep of two candidates, one of which has failed.

    Args:
        export: Exports the best one to a folder; None: that fails.
        **changes: Other values for `Experiment`'s fields.
    """

    def nothing(folder: Path) -> None:
        raise AssertionError(f"nothing is to be exported to {folder}")

    fields = {
        "model": "shoes",
        "sweep": Trial("5weeb", "sweep of shoes", parameters={"metric": "accuracy"}, tags={"best": "aaa"}),
        "trials": (
            Trial("aaa", "int8 on ONNX Runtime", False, {"recipe": "int8", "threads": 2}, {"accuracy": 0.75}),
            Trial("bbb", "half on ONNX Runtime", True, {"recipe": "half", "threads": 1}, {}, {"cause": "it crashed"}),
        ),
        "best": "aaa",
        "best_digest": "0" * 64,
        "metric": "accuracy",
        "higher_is_better": True,
        "export": export or nothing,
    }
    return Experiment(**{**fields, **changes})


class TrackerConformance:
    """Derive, and give fixtures ``name`` (a tracker that is installed) and ``place`` (where it may write)."""

    #: Settings with which nothing is exported.
    settings: dict[str, Any] = {}  # noqa: RUF012  a default for classes that derive

    def test_facts(self, name: str) -> None:
        """Declared facts are complete."""
        tracker = TRACKERS.get(name)
        assert tracker.label
        assert tracker.help
        assert not tracker.missing()
        for parameter in tracker.parameters:
            assert parameter.help
            assert parameter.check(parameter.default, name) == parameter.default

    def test_logging_again_adds_nothing(self, name: str, place: str) -> None:
        """Only what has changed is written again."""
        tracker = TRACKERS.get(name)
        settings = tracker.complete(self.settings)
        given = experiment()
        first = tracker.log(given, place, settings)
        assert (first.written, first.unchanged) == (3, 0)
        assert name in str(first.tracker)
        again = tracker.log(given, place, settings)
        assert (again.written, again.unchanged) == (0, 3)
        more = Trial("ccc", "int4 on ONNX Runtime", metrics={"accuracy": 0.5})
        grown = tracker.log(experiment(trials=(*given.trials, more)), place, settings)
        assert (grown.written, grown.unchanged) in {(1, 3), (2, 2)}  # a tracker may list all of them in one place

    def test_an_unknown_setting_is_refused(self, name: str) -> None:
        """By its name."""
        try:
            TRACKERS.get(name).complete({"papyrus": 1})
        except SettingError as error:
            assert "papyrus" in str(error)  # noqa: PT017
        else:
            raise AssertionError("an unknown setting was taken")
