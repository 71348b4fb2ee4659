"""Task functions that train small models natively."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploykit.converters._contract import Job
from deploykit.data.batch import Batch, Mixing
from deploykit.data.dataset import Dataset
from deploykit.sandbox.task import Report
from deploykit.testing import architectures
from deploykit.training import hidden, targets
from deploykit.training.augment import Batches
from deploykit.training.keras_trainer import train
from deploykit.training.objective import Objective
from deploykit.training.schedule import Schedule
from deploykit.training.targets import Labels, Teacher, TrainingGoal
from deploykit.training.teacher import opened


def loss(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: the loss of a goal for ``wanted`` and ``found`` answers.

    Args:
        arguments: ``goal``: a class of `deploykit.training.targets` or ``hidden``; its other ``options``; ``wanted``;
            ``found``; with ``labels`` and ``alpha``, labels count as well, with ``partners`` and ``shares`` mixed ones.
        report: Not used.
    """
    import numpy as np

    del report
    kind = getattr(targets, arguments["goal"], None) or getattr(hidden, arguments["goal"])
    goal: TrainingGoal = kind(lambda batch: batch.inputs["wanted"], **arguments["options"])
    if arguments.get("alpha"):
        labels = Labels(Objective("SparseCategoricalCrossentropy", from_logits=False), np.array(arguments["labels"]))
        goal = targets.Mixed(labels, goal, arguments["alpha"])
    given = {"wanted": np.array(arguments["wanted"], np.float32)}
    mixing = None
    if "shares" in arguments:
        mixing = Mixing(np.array(arguments["partners"]), np.array(arguments["shares"], np.float32))
    wanted = goal.targets(Batch(np.arange(len(arguments["wanted"])), given, mixing=mixing))
    return {"loss": float(goal.loss(wanted, np.array(arguments["found"], np.float32)))}


def augment(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: change some of ``images`` as a schedule with ``augment`` and ``seed`` says, ``calls`` times.

    Returns:
        For each call the images, and how they were mixed.
    """
    import numpy as np

    del report
    images = np.array(arguments["images"], arguments["dtype"])
    data = Dataset.from_arrays(images, x_test=images[:20])
    index = np.array(arguments["index"])
    batches = Batches(data, Schedule(index, len(index), 1, 1e-3, arguments["seed"], augment=arguments["augment"]))
    calls = []
    for _ in range(arguments["calls"]):
        batch = batches.changed(index)
        mixing = batch.mixing
        how = {} if mixing is None else {"partners": mixing.partners.tolist(), "shares": mixing.shares.tolist()}
        calls.append({"images": next(iter(batch.inputs.values())).tolist(), **how})
    return {"calls": calls}


def ask(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: what the Keras model at ``path``, asked at each step, gives for the examples beside it, twice by name."""
    import numpy as np

    del report
    path = Path(arguments["path"])
    with np.load(path.with_suffix(".inputs.npz")) as file:
        feeds = dict(file)
    session = opened(Job(path, path, "keras"), Dataset.from_arrays(feeds), often=True)
    calls = [session.predict({name: array[part] for name, array in feeds.items()}) for part in (slice(9), slice(4))]
    return {"calls": [{name: array.tolist() for name, array in call.items()} for call in calls]}


def recover(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: add noise to the weights of ``wide_cnn`` and train it to answer as before, or by labels that it gave.

    Args:
        arguments: ``goal``: ``"teacher"`` or ``"labels"``; ``epochs``, ``held_out``, ``learning_rate``, ``seed``.
        report: Progress.

    Returns:
        Shares of the examples with the same answer before and after, notes, a digest of the weights, momentums, and
        reports.
    """
    import numpy as np

    reports: list[tuple[float, float, str]] = []

    def tell(done: float, total: float, words: str) -> None:
        reports.append((done, total, words))
        report(done, total, words)

    teacher, model = (architectures.build("wide_cnn") for _ in range(2))
    rng = np.random.default_rng(0)
    teacher.set_weights([w + 0.3 * rng.standard_normal(w.shape).astype(w.dtype) for w in teacher.get_weights()[:-1]]
                        + teacher.get_weights()[-1:])  # fmt: skip
    images = rng.normal(0, 1, (320, 8, 8, 1)).astype(np.float32)
    wanted = np.asarray(teacher(images, training=False))
    data = Dataset.from_arrays(images, wanted.argmax(-1) if arguments["goal"] == "labels" else None)
    model.set_weights([w + 0.2 * rng.standard_normal(w.shape).astype(w.dtype) for w in teacher.get_weights()])
    schedule = Schedule.of(
        data, examples=0, batch_size=16, epochs=arguments["epochs"], learning_rate=arguments["learning_rate"],
        seed=arguments["seed"], held_out=arguments["held_out"],
    )  # fmt: skip

    def same() -> float:
        found = np.asarray(model(images, training=False))
        return float((found.argmax(-1) == wanted.argmax(-1)).mean())

    goal: TrainingGoal = Teacher(lambda batch: teacher(batch.inputs["input"], training=False), temperature=2.0)
    if arguments["goal"] == "labels":
        labels = data.labels("train")
        assert labels is not None
        goal = Labels(Objective("SparseCategoricalCrossentropy", from_logits=False), labels)
    before = same()
    trained = train(model, data, schedule, goal, report=tell)
    momentums = [layer.momentum for layer in model.layers if hasattr(layer, "momentum")]
    return {
        "before": before, "after": same(), "notes": trained.notes, "momentums": momentums, "reports": reports,
        "weights": sum(float(np.abs(w).astype(np.float64).sum()) for w in model.get_weights()),
        "steps": schedule.steps,
    }  # fmt: skip
