"""Each task from a file to a served answer, from every format and on every runtime, and the table of it."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest

import deploykit as dk
from deploykit.testing import sequences, tasks

IMAGES = Path(__file__).parents[2] / "notebooks" / "data" / "fashion-mnist.npz"
#: Read by `docs.tools.tasks`.
TABLE = Path(__file__).parent / "tasks.json"
#: Format that is given → runtime → what makes a candidate of it; None: nothing does, the original is served.
WAYS = {
    "keras": {
        "tensorflow": dk.Step("prune_channels", {"ratio": 0.1, "multiple": 1}),
        "onnxruntime": dk.Step("quantize_static"), "litert": dk.Step("quantize_static"),
        "openvino": dk.Step("quantize_static"),
    },
    "saved_model": {
        "tensorflow": None, "onnxruntime": dk.Step("quantize_static"), "litert": dk.Step("quantize_dynamic"),
    },
    "onnx": {"onnxruntime": dk.Step("quantize_static"), "openvino": dk.Step("quantize_static")},
    "tflite": {"litert": dk.Step("quantize_weights", {"bits": 8})},
}  # fmt: skip
#: The same for decoders, which are given as ONNX.
DECODERS = {
    "onnxruntime": dk.Step("quantize_dynamic"), "openvino": None, "litert": dk.Step("quantize_float16"),
    "tensorflow": None,
}  # fmt: skip
WRITERS = ("perplexity of text", "writing")
#: Tasks on sequences whose networks are Keras models.
TRAINED = tuple(task for task in sequences.SEQUENCES if task not in WRITERS)
#: Runtime that gives a file of the format.
_MAKES = {"saved_model": "tensorflow", "onnx": "onnxruntime", "tflite": "litert"}
#: Endings of the files.
_ENDINGS = {"saved_model": "", "onnx": ".onnx", "tflite": ".tflite"}


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Task → its network in every format, and its data."""
    folder, known = tmp_path_factory.mktemp("tasks"), {}

    def train(task):
        if task in sequences.SEQUENCES:
            found = sequences.SEQUENCES[task](folder)
            return found, found.data
        found = tasks.train(task, IMAGES, folder)
        return found, dk.Dataset.from_npz(found.data, preprocess=found.preprocess)

    def get(task):
        if task not in known:
            found, data = train(task)
            if isinstance(found.model, Path) and found.model.is_dir():
                known[task] = found, data, {"onnx": found.model}
                return known[task]
            model = dk.load(found.model)
            paths = {"keras": found.model}
            for kind, runtime in _MAKES.items():
                built = dk.build(model, dk.Recipe(), data, target=runtime, **found.declared)
                paths[kind] = built.save(folder / f"{task.replace(' ', '_')}_{kind}{_ENDINGS[kind]}")
            known[task] = found, data, paths
        return known[task]

    return get


@pytest.fixture(scope="session", autouse=True)
def table():
    """What was proved, written at the end; ways that were not run stay as their last run left them."""
    found = {}
    yield found
    kept = {}
    with contextlib.suppress(FileNotFoundError):
        kept = json.loads(TABLE.read_text("utf-8"))
    for task, ways in found.items():
        kept[task] = {**kept.get(task, {}), **ways}
    TABLE.write_text(json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")


@pytest.mark.proof(
    "Each task is loaded, swept, exported, verified and served, from every format and on every runtime",
    against="TensorFlow, ONNX Runtime, LiteRT, OpenVINO",
)
@pytest.mark.parametrize(
    ("given", "runtime", "task"),
    [(g, r, task) for g, runtimes in WAYS.items() for r in runtimes for task in [*tasks.TASKS, *TRAINED]]
    + [("onnx", r, task) for r in DECODERS for task in WRITERS],
)
def test_a_task_from_a_file_to_a_served_answer(task, given, runtime, made, table, tmp_path):
    found, data, paths = made(task)
    way = f"{given} on {runtime}"
    table.setdefault(task, {})[way] = "failed"
    model = dk.load(paths[given])
    step = DECODERS[runtime] if task in WRITERS else WAYS[given][runtime]
    space = dk.Space([dk.Recipe((step,) if step else ())], [dk.Target(runtime)])
    report = dk.sweep(
        model, data, space, store=tmp_path / "store", launches=0, metric=found.metric, progress=lambda _: None,
        **found.declared,
    )  # fmt: skip
    own = next(row for row in report.rows if not row.candidate.recipe.steps and row.candidate.target.runtime == runtime)
    assert own.measurement.score.metric == found.metric
    row = next((row for row in report.rows if row.candidate.recipe.steps), own)
    assert bool(row.candidate.recipe.steps) == (step is not None)
    assert row.status == "measured", row.failure
    score = row.measurement.score
    assert np.isfinite([score.value, score.drop.low, score.drop.high]).all()
    chosen = report.choice_for(row.key)
    artifact = dk.export(chosen, tmp_path / "artifact", name="task")
    assert dk.verify(artifact).ok
    some = [data.sample(4)[place : place + 1] for place in range(4)]
    with dk.serve(artifact, port=0) as server:
        answers = [server.predict(one) for one in some]
    for one, answer in zip(some, answers, strict=True):  # the answers of some depend on what else is in a batch
        for name, wanted in chosen.predict(one).items():
            if name.startswith("present"):  # a cache is as long as what was read
                continue
            given = answer[name] if isinstance(answer, dict) else answer
            if wanted.dtype.kind in "SUO":
                assert given.tolist() == wanted.tolist()
            else:
                if task == "perplexity of text":  # the server fills texts up to the longest of a request
                    wanted = wanted[:, : given.shape[1]]
                np.testing.assert_allclose(given, wanted, rtol=1e-4, atol=1e-4)
    table[task][way] = {"metric": found.metric, "original": own.measurement.score.value, "candidate": score.value}
