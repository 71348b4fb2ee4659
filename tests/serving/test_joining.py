"""Requests that arrive together run as one batch, and the answers do not show it."""

import asyncio
import itertools
import json
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from deploykit.artifacts.arrays import load_arrays
from deploykit.artifacts.artifact import Artifact
from deploykit.core.candidate import Recipe, Target
from deploykit.data.dataset import Dataset
from deploykit.exporters._export import export
from deploykit.loading._load import load
from deploykit.measuring.exportable import Exportable
from deploykit.serving import dataplane
from deploykit.serving.batches import independent, split
from deploykit.serving.dataplane import DataPlane
from deploykit.serving.runner import Runner
from deploykit.serving.service import Service
from deploykit.serving.transport.http_server import HTTPServer
from deploykit.serving.transport.listen import listen


def exported(folder, nodes, data, *, batch="batch", weights=(), dtype=TensorProto.FLOAT):
    """An ONNX graph from x to y, exported with examples of shape (4,)."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", dtype, [batch, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4])],
        [numpy_helper.from_array(value, name) for name, value in weights],
    )
    path = folder / "graph.onnx"
    save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]), path)
    model = load(path)
    dataset = Dataset.from_arrays({"x": data}).check(model)
    candidate = Exportable(
        path=path,
        format="onnx",
        name="graph",
        recipe=Recipe(),
        target=Target("onnxruntime"),
        model=model,
        data=dataset,
    )
    return export(candidate, folder / "out")


def normal():
    return np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)


def opened(artifact):
    return DataPlane(Artifact.open(artifact.path))


def examples(plane, artifact, count=8):
    golden = load_arrays(artifact.path / artifact.manifest.golden_inputs)
    return [plane.batch({name: golden[name][i : i + 1] for name in plane.inputs}) for i in range(count)]


@pytest.fixture
def joining(monkeypatch):
    """A plane that joins up to eight examples, whatever the clock says, and the sizes of what it runs."""

    def prepare(plane):
        sizes, infer = [], plane.infer

        def spy(batch):
            sizes.append(batch.count)
            return infer(batch)

        monkeypatch.setattr(plane, "infer", spy)
        monkeypatch.setattr(plane, "most_joined", 8)
        monkeypatch.setattr(plane, "example_seconds", 1e-5)
        return plane, sizes

    return prepare


# -- which models may be joined ----------------------------------------------------------------------------------------


@pytest.fixture
def _every_run_takes_as_long(monkeypatch):
    """A clock of its own, so that joining always pays."""
    ticks = itertools.count()
    monkeypatch.setattr(dataplane, "time", SimpleNamespace(perf_counter=lambda: next(ticks) * 1e-5))


@pytest.mark.usefixtures("_every_run_takes_as_long")
@pytest.mark.parametrize("kind", ["cnn_onnx", "two_inputs_onnx", "text_onnx", "cnn_tflite"])
def test_a_model_that_takes_examples_one_by_one_is_joinable(made, kind):
    assert opened(made(kind)).most_joined == 32


@pytest.mark.usefixtures("_every_run_takes_as_long")
def test_an_example_that_changes_the_others_is_found(tmp_path):
    nodes = [
        helper.make_node("ReduceMean", ["x", "axis"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ]
    artifact = exported(tmp_path, nodes, normal(), weights=[("axis", np.array([0], np.int64))])
    assert opened(artifact).most_joined == 1


@pytest.mark.usefixtures("_every_run_takes_as_long")
def test_a_quantization_over_the_batch_is_found_although_all_examples_have_the_same_range(tmp_path):
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    values = np.array([0.0, 0.3, 0.7, 1.0], np.float32)
    rng = np.random.default_rng(0)
    artifact = exported(tmp_path, nodes, np.stack([rng.permutation(values) for _ in range(60)]))
    assert opened(artifact).most_joined == 1


@pytest.mark.usefixtures("_every_run_takes_as_long")
@pytest.mark.parametrize(("batch", "most"), [(1, 1), (4, 1), ("batch", 32)])
def test_a_fixed_batch_size_runs_alone(tmp_path, batch, most):
    artifact = exported(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], normal(), batch=batch)
    assert opened(artifact).most_joined == most


def test_a_model_that_is_no_faster_together_runs_alone(made, monkeypatch):
    sizes = []
    infer = DataPlane.infer

    def noted(self, batch):
        sizes.append(batch.count)
        return infer(self, batch)

    def clock():  # the squares of the sizes so far: two examples take four times as long as one
        return sum(size**2 for size in sizes) * 1e-5

    monkeypatch.setattr(DataPlane, "infer", noted)
    monkeypatch.setattr(dataplane, "time", SimpleNamespace(perf_counter=clock))
    assert opened(made("cnn_onnx")).most_joined == 1
    assert max(sizes) == 32


def test_a_slow_model_is_not_tried_together(made, monkeypatch):
    sizes = []
    infer = DataPlane.infer

    def noted(self, batch):
        sizes.append(batch.count)
        return infer(self, batch)

    ticks = itertools.count()
    monkeypatch.setattr(DataPlane, "infer", noted)
    monkeypatch.setattr(dataplane, "time", SimpleNamespace(perf_counter=lambda: next(ticks) * 0.003))
    assert opened(made("cnn_onnx")).most_joined == 1
    assert set(sizes) == {1}


def test_a_model_that_fails_on_several_runs_alone(made):
    plane = opened(made("cnn_onnx"))

    def one_only(batch):
        assert batch.count == 1
        return plane.infer(batch)

    singles = examples(plane, made("cnn_onnx"))
    assert independent(plane.infer, singles)
    assert not independent(one_only, singles)


def test_an_output_without_a_batch_cannot_be_split(made):
    plane = opened(made("cnn_onnx"))
    singles = examples(plane, made("cnn_onnx"), 2)
    for wrong in (np.float32(1), np.zeros((3, 2), np.float32)):
        with pytest.raises(ValueError, match=r"'y' has shape .* for 2 examples"):
            split({"y": np.asarray(wrong)}, singles)


# -- over real connections ---------------------------------------------------------------------------------------------


def exchange(plane, bodies):
    """Send all bodies at once, each over its own connection: status and message of each answer."""

    async def talk():
        server = HTTPServer(Service([plane]))
        listener = listen("127.0.0.1", 0, 1)[0]
        port = listener.getsockname()[1]
        await server.start(listener)
        pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in bodies]
        for (_, writer), body in zip(pairs, bodies, strict=True):
            data = json.dumps(body).encode()
            head = f"POST /v1/models/{plane.name}:predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        answers = [await reader.read() for reader, _ in pairs]
        for _, writer in pairs:
            writer.close()
            await writer.wait_closed()
        await server.drain(10)
        return answers

    parts = [answer.partition(b"\r\n\r\n") for answer in asyncio.run(talk())]
    return [(int(head.split()[1]), json.loads(body)) for head, _, body in parts]


def same(one, other):
    """Whether two messages are alike but for rounding."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    a, b = np.array(one), np.array(other)
    if a.dtype.kind != "f":
        return a.tolist() == b.tolist()
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("kind", ["cnn_onnx", "two_inputs_onnx", "text_onnx", "log_onnx", "cnn_tflite"])
def test_joined_answers_are_the_lone_ones(made, joining, kind):
    artifact = made(kind)
    golden = load_arrays(artifact.path / artifact.manifest.golden_inputs)
    plane, sizes = joining(opened(artifact))
    spans = [(i, i + 1 + i % 3) for i in range(6)] * 3  # one to three examples each
    bodies = [{"inputs": {name: golden[name][a:b].tolist() for name in plane.inputs}} for a, b in spans]
    alone = [exchange(plane, [body])[0] for body in bodies]
    assert sizes == [b - a for a, b in spans]
    sizes.clear()
    together = exchange(plane, bodies)
    assert {status for status, _ in together} == {200}
    assert all(same(one[1], other[1]) for one, other in zip(alone, together, strict=True))
    assert not same(together[0][1], together[3][1])
    assert sum(sizes) == sum(b - a for a, b in spans)
    assert len(sizes) < len(spans)
    assert max(sizes) <= 8


def test_a_wrong_request_hurts_no_other(tmp_path, joining, caplog):
    table = np.arange(10, dtype=np.float32)
    nodes = [helper.make_node("Gather", ["table", "x"], ["y"])]
    ids = np.random.default_rng(0).integers(0, 10, (60, 4))
    artifact = exported(tmp_path, nodes, ids, weights=[("table", table)], dtype=TensorProto.INT32)
    plane, sizes = joining(opened(artifact))
    good = [{"instances": [[i, i, i, i + 1]]} for i in range(4)]
    shape, value, index = ({"instances": [row]} for row in ([1, 2], [1, 2, 3, 1 << 40], [1, 2, 3, 99]))
    answers = exchange(plane, [good[0], value, good[1], shape, good[2], index, good[3]])
    assert max(sizes) > 1
    assert [status for status, _ in answers] == [200, 400, 200, 400, 200, 400, 200]
    assert [answers[i][1]["predictions"] for i in (0, 2, 4, 6)] == [[[i, i, i, i + 1]] for i in range(4)]
    wanted = "Input 'x': expected int32 (-2147483648 to 2147483647), got 1099511627776."
    assert answers[1][1]["error"].endswith(wanted)
    assert "expected shape (batch, 4), got (1, 2)" in answers[3][1]["error"]
    assert answers[5][1]["error"].startswith("The model cannot run these examples: ")
    assert "Traceback" not in caplog.text


# -- the runner --------------------------------------------------------------------------------------------------------


@pytest.fixture
def features(made, joining):
    """A plane of (batch, 4), the sizes it runs, and a maker of batches whose answers differ."""
    plane, sizes = joining(opened(made("matmul_onnx")))

    def batch(number, count=1):
        return plane.batch({"features": np.full((count, 4), number, np.float32)})

    return plane, sizes, batch


def test_what_arrives_together_runs_up_to_the_limit_in_order(features):
    plane, sizes, batch = features
    alone = [plane.infer(batch(i))["value"] for i in range(19)]
    sizes.clear()

    async def everything():
        runner = Runner(plane, 512)
        return await asyncio.gather(*(runner.run(batch(i)) for i in range(19)))

    found = asyncio.run(everything())
    assert sizes == [8, 8, 3]
    for one, other in zip(alone, found, strict=True):
        np.testing.assert_allclose(one, other["value"], rtol=1e-5)


def test_other_requests_are_answered_between_two_joined_batches(features):
    plane, sizes, batch = features

    async def everything():
        runner = Runner(plane, 512)

        async def request(number):
            await runner.run(batch(number))
            return list(sizes)

        return await asyncio.gather(*map(request, range(16)))

    assert asyncio.run(everything()) == [[8]] * 8 + [[8, 8]] * 8


def test_a_batch_as_large_as_the_limit_is_not_joined(features):
    plane, sizes, batch = features

    async def everything():
        runner = Runner(plane, 512)
        return await asyncio.gather(*(runner.run(batch(1, count)) for count in (8, 3, 9, 4, 2)))

    assert [len(found["value"]) for found in asyncio.run(everything())] == [8, 3, 9, 4, 2]
    assert sizes == [8, 9, 7, 2]


def test_examples_of_another_shape_are_another_batch_and_have_their_turn(made, joining):
    plane, _ = joining(opened(made("matmul_onnx")))
    shapes = []

    class AnyShape:
        most_joined, example_seconds = plane.most_joined, plane.example_seconds

        def infer(self, batch):
            shapes.append(batch.arrays["features"].shape)
            return plane.infer(type(batch)({"features": batch.arrays["features"][:, :4]}, batch.count))

    def batch(width):
        return dataplane.Batch({"features": np.ones((1, width), np.float32)}, 1)

    async def everything():
        runner = Runner(AnyShape(), 512)
        await asyncio.gather(*(runner.run(batch(width)) for width in [4] * 10 + [5] * 2))

    asyncio.run(everything())
    assert shapes == [(8, 4), (2, 5), (2, 4)]


def test_a_request_that_is_given_up_is_not_run(features):
    plane, sizes, batch = features

    async def everything():
        runner = Runner(plane, 512)
        tasks = [asyncio.create_task(runner.run(batch(i))) for i in range(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = asyncio.run(everything())
    assert isinstance(found[1], asyncio.CancelledError)
    assert [len(f["value"]) for i, f in enumerate(found) if i != 1] == [1, 1, 1]
    assert sizes == [3]


@pytest.fixture
def held(features, monkeypatch):
    """The same plane, of which batches of 1000 take until they are released, and what begins and ends."""
    plane, _, batch = features
    released, order, infer = threading.Event(), [], plane.infer

    def slow(batch):
        order.append(("begin", batch.count))
        if batch.count == 1000:
            released.wait(60)
        found = infer(batch)
        order.append(("end", batch.count))
        return found

    monkeypatch.setattr(plane, "infer", slow)
    return plane, batch, released, order


def test_requests_that_wait_while_a_long_batch_takes_the_session_run_after_it(held):
    plane, batch, released, order = held

    async def everything():
        runner = Runner(plane, 512)
        tasks = [asyncio.create_task(runner.run(batch(1, count))) for count in (1, 1000, 2)]
        while not order:
            await asyncio.sleep(0)
        for _ in range(9):
            await asyncio.sleep(0)
        released.set()
        await asyncio.gather(*tasks)

    asyncio.run(everything())
    assert order == [(when, count) for count in (1000, 2, 1) for when in ("begin", "end")]


def test_the_session_stays_with_the_thread_when_nobody_waits_for_it_any_longer(held):
    plane, batch, released, order = held

    async def everything():
        runner = Runner(plane, 512)
        long = asyncio.create_task(runner.run(batch(1, 1000)))
        while not order:
            await asyncio.sleep(0)
        long.cancel()
        await asyncio.gather(long, return_exceptions=True)
        quick = asyncio.create_task(runner.run(batch(1)))
        for _ in range(9):
            await asyncio.sleep(0)
        released.set()
        await quick
        await runner.run(batch(1, 2))

    asyncio.run(everything())
    assert order == [(when, count) for count in (1000, 1, 2) for when in ("begin", "end")]
