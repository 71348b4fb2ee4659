"""What every metric must do. A test module derives from `MetricConformance` and parametrizes it with the registry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from deploykit.core.contract import KINDS, Kind
from deploykit.core.errors import DatasetError
from deploykit.metrics._choose import choose
from deploykit.metrics._contract import METRICS, Metric, Pooled

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXAMPLES = 40
_CLASSES = 8


class Case(NamedTuple):
    """Outputs that are right in every example.

    Attributes:
        kind: What the outputs are, see `deploykit.core.contract.KINDS`.
        outputs: As `deploykit.measuring.answers.read` gives them, batch first.
        labels: What they are right for.
        names: Class names by index.
        wrong: Outputs that are wrong in every example; None: those of `damaged`.
    """

    kind: Kind
    outputs: NDArray[Any]
    labels: NDArray[Any]
    names: tuple[str, ...] = ()
    wrong: NDArray[Any] | None = None

    @property
    def broken(self) -> NDArray[Any]:
        """Outputs that are wrong in every example."""
        return damaged(self.outputs) if self.wrong is None else self.wrong

    def metric(self, name: str) -> Metric:
        """The metric as it is used for such outputs."""
        return METRICS.get(name).for_classes(self.names)

    def truth(self, metric: Metric) -> NDArray[Any]:
        """What a metric compares the outputs with."""
        return self.labels if metric.truth == "labels" else self.outputs


def cases() -> Iterator[Case]:
    """Seeded right answers of every kind: one per example, one per position, several, and numbers."""
    import numpy as np

    rng = np.random.default_rng(0)
    for shape in ((_EXAMPLES,), (_EXAMPLES, 4, 4)):
        classes = rng.integers(0, _CLASSES, shape)
        scores = np.eye(_CLASSES)[classes] * 2 + rng.random((*shape, _CLASSES))
        yield Case("scores", scores, classes)
        yield Case("probabilities", scores / scores.sum(axis=-1, keepdims=True), classes)
        yield Case("logit", scores[..., :2], scores[..., :2].argmax(axis=-1))
        yield Case("probability", scores[..., :2], scores[..., :2].argmax(axis=-1))
        yield Case("classes", classes, classes)
    several = (rng.random((_EXAMPLES, 5)) < 0.4).astype(np.int64)
    several[:, 0] |= ~several.any(axis=1)
    yield Case("several", several * 0.8 + 0.1, several)
    boxes = np.full((_EXAMPLES, 3, 6), -1.0)
    boxes[..., :4] = boxes[..., 5] = 0.0
    there = rng.integers(1, 4, _EXAMPLES)[:, None] > np.arange(3)
    corners = rng.random((*there.shape, 2)) * 0.5
    boxes[..., :4] = np.where(there[..., None], np.concatenate([corners, corners + 0.3], axis=-1), 0.0)
    boxes[..., 4] = np.where(there, rng.integers(0, _CLASSES, there.shape), -1)
    detections = boxes[..., [0, 1, 2, 3, 5, 4]]
    detections[..., 4] = np.where(there, 0.5 + 0.4 * rng.random(there.shape), 0.0)
    yield Case("boxes", detections, boxes)
    for width in (1, 6):
        numbers = rng.normal(size=(_EXAMPLES, width))
        yield Case("values", numbers, numbers.copy())
        yield Case("embedding", numbers, numbers.copy())
    tags = ("O", "B-PER", "I-PER", "B-LOC")
    classes = rng.integers(0, len(tags), (_EXAMPLES, 9))
    classes[:, 0] = 1  # an entity in each
    scores = np.eye(len(tags))[classes] + rng.random((*classes.shape, len(tags))) / 2
    yield Case("scores", scores, classes, tags)
    yield Case("classes", classes, classes, tags, (classes + 1) % len(tags))
    identities = np.arange(_EXAMPLES) % 4
    vectors = np.eye(6)[identities] + rng.normal(0, 0.1, (_EXAMPLES, 6))
    yield Case("embedding", vectors, identities, (), np.ones_like(vectors))  # a dead encoder
    words = np.array(["the", "cat", "sat", "on", "a", "mat", "near", "two", "dogs", "again"])
    texts = np.array([" ".join(words[rng.permutation(len(words))[: 5 + i % 4]]) for i in range(_EXAMPLES)])
    yield Case("text", texts, texts.copy(), (), np.array(["-"] * _EXAMPLES))


def damaged(outputs: NDArray[Any]) -> NDArray[Any]:
    """Outputs that are wrong in every example: the next class, or all numbers upside down."""
    found: NDArray[Any] = (outputs + 1) % _CLASSES if outputs.dtype.kind == "i" else -outputs - 1.0
    return found


class MetricConformance:
    """Derive, and give a fixture ``name`` (a metric)."""

    def suited(self, name: str) -> list[Case]:
        """The cases that the metric is for, of which there must be some; it says why it is not for the others."""
        found = []
        for case in cases():
            metric = case.metric(name)
            reason = metric.refuses(case.kind) or metric.unsuitable(case.outputs, case.truth(metric))
            assert isinstance(reason, str)
            if not reason:
                found.append(case)
        assert found, "none of the outputs in deploykit.testing.metrics.cases suits it: add one that does"
        return found

    def test_facts(self, name: str) -> None:
        """Declared facts are complete."""
        metric = METRICS.get(name)
        assert metric.label
        assert metric.help.endswith(".")
        assert metric.truth in ("labels", "original")
        assert metric.kinds <= set(get_args(Kind))
        assert metric.priority >= 0
        assert not metric.missing()
        assert metric.why or not metric.priority, "say why auto takes it"
        assert not (metric.binary and metric.relative), "hits and misses have no relative change"

    def test_it_is_chosen_by_its_name(self, name: str) -> None:
        """For what suits it; for anything else the error names the metric and the reason."""
        metric, suited = METRICS.get(name), self.suited(name)
        for case in suited:
            assert choose(name, case.outputs, case.labels, case.kind, case.names).name == name
        for kind in set(KINDS) - {case.kind for case in suited} - (metric.kinds or set(KINDS)):
            try:
                choose(name, suited[0].outputs, suited[0].labels, kind, suited[0].names)
            except DatasetError as error:
                assert name in str(error)  # noqa: PT017  the package does not depend on pytest
                assert kind in str(error)  # noqa: PT017
            else:
                raise AssertionError(f"it was chosen for {kind}, which is not one of its kinds")

    def test_data_without_labels_are_refused_by_a_metric_that_needs_them(self, name: str) -> None:
        """With the reason; one that compares with the original's outputs takes them."""
        metric = METRICS.get(name)
        for case in self.suited(name):
            if metric.truth == "labels":
                assert metric.unsuitable(case.outputs, None)
            else:
                assert choose(name, case.outputs, None, case.kind).name == name

    def test_right_answers_are_better_than_wrong_ones(self, name: str) -> None:
        """There is one finite number per example, and its direction is the declared one."""
        import numpy as np

        sign = 1 if METRICS.get(name).higher_is_better else -1
        for case in self.suited(name):
            metric = case.metric(name)
            truth = case.truth(metric)
            right, wrong = metric.values(case.outputs, truth), metric.values(case.broken, truth)
            for found in (right, wrong):
                assert found.shape == (_EXAMPLES,)
                assert found.dtype == np.float64
                assert np.isfinite(found).all()
                assert not metric.binary or set(found.tolist()) <= {0.0, 1.0}
                assert not metric.relative or isinstance(metric, Pooled) or (found >= 0).all()
            assert isinstance(metric, Pooled) or (sign * right >= sign * wrong).all()
            assert sign * right.mean() > sign * wrong.mean()
            np.testing.assert_allclose(metric.overall(case.outputs, truth), right.mean(), rtol=1e-9)

    def test_each_example_counts_for_itself(self, name: str) -> None:
        """Its value does not depend on the others, nor are outputs and truth changed: comparisons are paired."""
        import numpy as np

        order = np.random.default_rng(1).permutation(_EXAMPLES)
        for case in self.suited(name):
            metric = case.metric(name)
            mixed = np.where(
                (np.arange(_EXAMPLES) % 2).reshape(-1, *[1] * (case.outputs.ndim - 1)),
                case.outputs, case.broken,
            )  # fmt: skip
            truth = case.truth(metric)
            for given in (mixed, truth):
                given.flags.writeable = False
            if isinstance(metric, Pooled):
                whole = metric.overall(mixed, truth)
                np.testing.assert_allclose(metric.overall(mixed[order], truth[order]), whole, rtol=1e-9)
                continue
            found = metric.values(mixed, truth)
            np.testing.assert_array_equal(metric.values(mixed[order], truth[order]), found[order])
            np.testing.assert_allclose(metric.values(mixed[3:4], truth[3:4]), found[3:4], rtol=1e-12)

    def test_a_pooled_metric_is_that_of_repeated_examples(self, name: str) -> None:
        """A weight says how often an example counts, and 0 leaves it out: intervals rest on this."""
        import numpy as np

        own = METRICS.get(name)
        if not isinstance(own, Pooled) or own.among:
            return
        weights = np.random.default_rng(2).integers(0, 3, (3, _EXAMPLES))
        for case in self.suited(name):
            metric = case.metric(name)
            assert isinstance(metric, Pooled)
            mixed = case.outputs.copy()
            mixed[::3] = case.broken[::3]
            truth = case.truth(metric)
            parts = metric.parts(mixed, truth)
            assert all(len(array) == _EXAMPLES for array in parts.values())
            some = [metric.parts(mixed[part], truth[part]) for part in (slice(0, 7), slice(7, _EXAMPLES))]
            np.testing.assert_allclose(
                metric.pool(metric.joined(some), np.ones((1, _EXAMPLES))), metric.overall(mixed, truth), rtol=1e-9
            )
            found = metric.pool(parts, weights.astype(np.float64))
            assert found.shape == (3,)
            for row, value in zip(weights, found, strict=True):
                again = np.repeat(np.arange(_EXAMPLES), row)
                np.testing.assert_allclose(value, metric.overall(mixed[again], truth[again]), rtol=1e-9, atol=1e-12)

    def test_answers_that_are_not_numbers_are_never_right(self, name: str) -> None:
        """NaN gives NaN, which fails the candidate, or a worse value."""
        import numpy as np

        sign = 1 if METRICS.get(name).higher_is_better else -1
        for case in self.suited(name):
            metric = case.metric(name)
            if case.outputs.dtype.kind != "f":
                continue
            broken = case.outputs.copy()
            broken[0] = np.nan
            if isinstance(metric, Pooled):
                whole, less = (metric.overall(o, case.truth(metric)) for o in (case.outputs, broken))
                assert np.isnan(less) or sign * less < sign * whole
                continue
            before, after = (metric.values(o, case.truth(metric)) for o in (case.outputs, broken))
            assert np.isnan(after[0]) or sign * after[0] < sign * before[0]
            np.testing.assert_array_equal(after[1:], before[1:])
