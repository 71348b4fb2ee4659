"""The gRPC server itself: health, deadlines, limits, slow clients, the end, and what no client should send."""

import asyncio
import contextlib
import os
import queue
import random
import signal
import threading
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

import deploykit as dk
from deploykit.artifacts.artifact import Artifact
from deploykit.core.protos.messages import message, pool
from deploykit.core.settings.limits import ServerLimits
from deploykit.serving._serve import serve
from deploykit.serving.dataplane import DataPlane
from deploykit.serving.service import Service
from deploykit.serving.transport.listen import hold
from deploykit.serving.wires import grpc as wire

from .conftest import Caller

SERVICES = ("inference.GRPCInferenceService", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")
INFER = "/inference.GRPCInferenceService/ModelInfer"


def infer(name="log"):
    request = message("inference.ModelInferRequest")(model_name=name)
    request.inputs.add(name="features", datatype="FP32", shape=(1, 4))
    request.raw_input_contents.append(np.ones(4, "<f4").tobytes())
    return request


@pytest.fixture
def log(spoken):
    """features (batch, 4) float32 → their logarithms."""
    return spoken("log_onnx")


# -- the server as it is started ---------------------------------------------------------------------------------------


def test_workers_share_the_port_and_count_what_they_answer(made):
    with serve(made("log_onnx"), port=0, ports={"grpc": 0}, workers=2) as server:
        for place in range(12):
            with grpc.insecure_channel(
                f"127.0.0.1:{server.ports['grpc']}", [("grpc.channel_number", place)]
            ) as channel:
                channel.unary_unary(INFER)(infer().SerializeToString(), timeout=60)
                with pytest.raises(grpc.RpcError):
                    channel.unary_unary(INFER)(infer("other").SerializeToString(), timeout=60)
                health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
        assert (server.traffic().answered, server.traffic().refused) == (12, 12)
        port = server.ports["grpc"]
        with pytest.raises(dk.errors.PortInUseError, match="own server of 'log'"):
            serve(made("log_onnx"), port=0, ports={"grpc": port})
    with hold_free(port):
        pass


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal")
def test_a_restarted_worker_has_its_port_again(made):
    with serve(made("log_onnx"), port=0, ports={"grpc": 0}) as server:
        (pid,) = server.pids
        os.kill(pid, signal.SIGKILL)
        with grpc.insecure_channel(f"127.0.0.1:{server.ports['grpc']}") as channel:
            ask = channel.unary_unary(INFER)
            answer = message("inference.ModelInferResponse").FromString(
                ask(infer().SerializeToString(), timeout=60, wait_for_ready=True)
            )
        assert answer.model_name == "log"
        assert server.pids != (pid,)


@contextlib.contextmanager
def hold_free(port):
    (socket,) = hold("127.0.0.1", port)
    yield socket
    socket.close()


def test_health_of_the_server_and_of_each_service(log):
    stub = health_pb2_grpc.HealthStub(log.channel)
    for name in ("", *SERVICES):
        asked = health_pb2.HealthCheckRequest(service=name)
        assert stub.Check(asked, timeout=60).status == health_pb2.HealthCheckResponse.SERVING
        watch = stub.Watch(asked, timeout=60)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="other"), timeout=60)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_reflection_describes_all_services(log):
    found = ProtoReflectionDescriptorDatabase(log.channel)
    assert set(found.get_services()) == {*SERVICES, "grpc.health.v1.Health"}
    for name in found.get_services():
        file = found.FindFileContainingSymbol(name)
        assert name in [f"{file.package}.{service.name}" for service in file.service]


def test_every_method_of_the_definitions_is_known(log):
    for name in SERVICES:
        for method in pool().FindServiceByName(name).methods:
            try:
                log.raw(f"/{name}/{method.name}", b"")
            except grpc.RpcError as error:
                said = error.details()
            else:
                said = ""
            assert "Method not found" not in said


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_beyond_the_limit_is_refused_before_it_is_there(log, compression, refusal):
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{log.server.ports['grpc']}", options) as channel:
        with refusal("RESOURCE_EXHAUSTED", "larger than max"):
            channel.unary_unary(INFER)(bytes((64 << 20) + 1), timeout=60, compression=compression)
        assert channel.unary_unary(INFER)(infer().SerializeToString(), timeout=60, compression=compression)


def test_malformed_messages_do_no_harm(log):
    """Mutated requests of all methods: each gets a status that blames the request, and the worker lives on."""
    rng = random.Random(5)
    seeds = {
        f"/{name}/{m.name}": message(m.input_type.full_name)().SerializeToString()
        for name in SERVICES
        for m in pool().FindServiceByName(name).methods
        if not m.client_streaming
    }
    seeds[INFER] = infer().SerializeToString()
    predict = message("tensorflow.serving.PredictRequest")()
    predict.model_spec.name = "log"
    tensor = predict.inputs["features"]
    tensor.dtype = 1
    for size in (2, 4):
        tensor.tensor_shape.dim.add(size=size)
    tensor.float_val.extend(range(8))
    seeds["/tensorflow.serving.PredictionService/Predict"] = predict.SerializeToString()
    (before,) = log.server.pids
    codes = set()
    for number in range(600):
        path = (INFER, "/tensorflow.serving.PredictionService/Predict", *seeds)[number % (len(seeds) + 2)]
        data = mutated(seeds[path], rng)
        try:
            log.raw(path, data)
        except grpc.RpcError as error:
            codes.add(error.code().name)
    assert {"INVALID_ARGUMENT", "NOT_FOUND"} <= codes <= {"INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED"}
    assert log("ModelInfer", infer()).model_version == "1"
    assert log.server.pids == (before,)
    assert "Traceback" not in log.server.log.read_text()


def mutated(data, rng):
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        what, at = rng.randrange(4), rng.randrange(len(data) + 1)
        if what == 0:
            data[at:at] = rng.randbytes(rng.randint(1, 9))
        elif what == 1:
            del data[at : at + rng.randint(1, 9)]
        elif data and what == 2:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        else:
            data[at:at] = data[: rng.randrange(len(data) + 1)]
    return bytes(data)


# -- in this process, with a model that waits for the test -----------------------------------------------------


class Model:
    """Stands where a runner does: each request waits until it is let go."""

    def __init__(self):
        self.began = queue.Queue()
        self.cancelled = threading.Event()
        self._go = None

    async def run(self, batch):
        if self._go is None:
            self._go = asyncio.Event()
        self.began.put(asyncio.get_running_loop())
        try:
            await self._go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return {"logarithm": np.log(batch.arrays["features"])}

    def go(self):
        self.began.get(timeout=60).call_soon_threadsafe(lambda: self._go.set())


@contextlib.contextmanager
def running(*planes, real=False, **limits):
    """A server in this process; stops at the end. The first model waits for the test unless it is to be real."""
    service = Service(planes, limits=ServerLimits(**limits))
    model = Model()
    plane = planes[0]
    if not real:
        served = SimpleNamespace(plane=plane, version="1", runner=model)
        service._models[plane.name, "1"] = service._models[plane.name, None] = served
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    (listener,) = hold("127.0.0.1", 0)
    stop = asyncio.run_coroutine_threadsafe(wire.ADAPTER.start(service, listener), loop).result(60)
    ended = []

    def end():
        if not ended:
            ended.append(asyncio.run_coroutine_threadsafe(stop(), loop))
        return ended[0]

    server = SimpleNamespace(ports={"grpc": listener.getsockname()[1]})
    caller = Caller(server)
    try:
        yield SimpleNamespace(service=service, model=model, caller=caller, channel=caller.channel, end=end)
    finally:
        end().result(60)
        caller.channel.close()
        listener.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def plane(made):
    return DataPlane(Artifact.open(made("log_onnx").path))


def test_each_name_has_its_own_model(plane, made):
    other = DataPlane(Artifact.open(made("matmul_onnx").path))
    row = np.array([[1, 2, 4, 8]], np.float32)
    wanted = {
        one.name: next(iter(one.infer(one.batch({"features": row})).values())).tobytes() for one in (plane, other)
    }
    assert len(wanted) == len(set(wanted.values())) == 2
    with running(plane, other, real=True) as server:
        for name in (*wanted, *reversed(wanted)):
            request = infer(name)
            request.raw_input_contents[0] = row.tobytes()
            answer = server.caller("ModelInfer", request)
            assert (answer.model_name, answer.raw_output_contents[0]) == (name, wanted[name])
        assert [m.name for m in server.caller("RepositoryIndex").models] == list(wanted)
        assert call(server, request=infer("third")).exception().code() is grpc.StatusCode.NOT_FOUND


def call(server, timeout=60, request=None):
    return server.channel.unary_unary(INFER).future((request or infer()).SerializeToString(), timeout=timeout)


def test_an_answer_after_the_deadline_is_not_waited_for(plane):
    with running(plane) as server:
        late = call(server, timeout=0.3)
        assert late.exception().code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert server.model.cancelled.wait(60)


def test_an_answer_beyond_the_limit_is_not_waited_for(plane):
    with running(plane, answer_seconds=0.1) as server:
        error = call(server).exception()
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert error.details() == "The answer was not ready within 0.1 s."
        assert server.model.cancelled.wait(60)


def test_what_has_not_begun_at_its_deadline_is_not_computed(plane, monkeypatch):
    monkeypatch.setattr(wire, "_THREADS", 1)
    with running(plane) as server:
        first = call(server)
        loop = server.model.began.get(timeout=60)
        late = call(server, timeout=0.2)
        assert late.exception().code() is grpc.StatusCode.DEADLINE_EXCEEDED
        server.model.began.put(loop)
        server.model.go()
        assert first.result()
        assert call(server).result()
        assert server.model.began.qsize() == 1  # the third


def test_a_client_that_goes_ends_its_request(plane):
    with running(plane) as server:
        gone = call(server)
        server.model.began.get(timeout=60)
        gone.cancel()
        assert server.model.cancelled.wait(60)


def test_health_is_answered_while_every_thread_waits_for_the_model(plane):
    with running(plane) as server:
        waiting = [call(server) for _ in range(3 * wire._THREADS)]
        loop, *_ = (server.model.began.get(timeout=60) for _ in range(wire._THREADS))
        stub = health_pb2_grpc.HealthStub(server.channel)
        assert stub.Check(health_pb2.HealthCheckRequest(), timeout=60).status == health_pb2.HealthCheckResponse.SERVING
        assert server.caller("ServerLive").live
        server.model.began.put(loop)
        server.model.go()
        assert all(one.result() for one in waiting)


def test_more_than_may_wait_are_refused(plane):
    with running(plane, waiting=2) as server:
        calls = [call(server) for _ in range(2)]
        loop, _ = (server.model.began.get(timeout=60) for _ in range(2))
        assert call(server).exception().code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        server.model.began.put(loop)
        server.model.go()
        assert all(one.result() for one in calls)


def test_a_client_that_never_sends_its_request_is_given_up(plane):
    with running(plane, request_seconds=0.2) as server:
        never = threading.Event()

        def nothing():
            never.wait(60)
            yield b""

        stalled = server.channel.stream_unary(INFER).future(nothing(), timeout=60)
        assert stalled.exception().code() is grpc.StatusCode.CANCELLED
        never.set()


def test_streams_beyond_the_limit_are_refused(plane, monkeypatch):
    monkeypatch.setattr(wire, "_STREAMS", 1)
    path = "/inference.GRPCInferenceService/ModelStreamInfer"
    with running(plane) as server:
        requests = queue.Queue()
        first = server.channel.stream_stream(path)(iter(requests.get, None), timeout=60)
        requests.put(infer().SerializeToString())
        server.model.go()
        assert next(first)
        second = server.channel.stream_stream(path)(iter([infer().SerializeToString()]), timeout=60)
        with pytest.raises(grpc.RpcError) as caught:
            next(second)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        requests.put(None)
        assert list(first) == []


def test_what_is_in_progress_is_answered_when_the_server_stops(plane):
    with running(plane) as server:
        calls = [call(server) for _ in range(2 * wire._THREADS)]
        loop, *_ = (server.model.began.get(timeout=60) for _ in range(wire._THREADS))
        stub = health_pb2_grpc.HealthStub(server.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        ended = server.end()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert not ended.done()
        server.model.began.put(loop)
        server.model.go()
        for one in calls:
            assert message("inference.ModelInferResponse").FromString(one.result()).model_name == "log"
        ended.result(60)
        with pytest.raises(grpc.RpcError) as caught:  # the watch is not waited for
            next(watch)
        assert caught.value.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)


def test_readiness_ends_when_the_server_goes_down(plane):
    with running(plane) as server:
        assert server.caller("ServerReady").ready
        server.service.draining = True
        stub = health_pb2_grpc.HealthStub(server.channel)
        found = stub.Check(health_pb2.HealthCheckRequest(service=SERVICES[0]), timeout=60)
        assert found.status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert not server.caller("ServerReady").ready
        assert not server.caller("ModelReady", name="log").ready
        assert server.caller("ServerLive").live


def test_an_unexpected_error_gives_no_details(plane, monkeypatch, caplog):
    async def broken(batch):
        raise RuntimeError("secret")

    with running(plane) as server:
        monkeypatch.setattr(server.model, "run", broken)
        error = call(server).exception()
        assert (error.code(), error.details()) == (
            grpc.StatusCode.INTERNAL, "internal error; the server's log has the details.",
        )  # fmt: skip
        assert "secret" in caplog.text
