"""What SIGTERM leaves behind: no unanswered request, and no process."""

import http.client
import json
import signal
import subprocess
import sys
import threading

import numpy as np
import psutil
import pytest

from deploykit.data.dataset import Dataset
from deploykit.testing import graphs

#: Turns of a twentieth of a second or so: 40 of them are not answered before the signal comes.
TURNS = 50_000


@pytest.fixture(scope="module")
def moody(tmp_path_factory):
    """What (N, 3) int64: turns, divisor, size → turns // divisor."""
    return graphs.exported(
        graphs.moody(tmp_path_factory.mktemp("moody")), Dataset.from_arrays({"what": np.full((60, 3), 64)})
    )


def program(folder, text):
    script = f"import sys\nimport deploykit as dk\n{text}\n"
    return subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


SERVING = """
def ready(server):
    print(server.port, server.ports["grpc"], flush=True)
dk.serve(sys.argv[1], port=0, ports={"grpc": 0}, block=True, ready=ready,
         limits={"answer_seconds": 300, "drain_seconds": 120, "grace_seconds": 0.5})
"""


def test_forty_requests_in_flight_are_answered_over_http_and_grpc(moody):
    grpc = pytest.importorskip("grpc")
    from deploykit.core.protos.messages import message

    parent = program(moody.path, SERVING)
    port, grpc_port = map(int, parent.stdout.readline().split())
    found, sent = {}, threading.Semaphore(0)
    channel = grpc.insecure_channel(f"127.0.0.1:{grpc_port}")

    def over_http(number):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        body = json.dumps({"instances": [[TURNS + number, 1, 1]]}).encode()
        connection.request("POST", "/v1/models/graph:predict", body)
        sent.release()
        answer = connection.getresponse()
        found[number] = answer.status, json.loads(answer.read())["predictions"], answer.headers["connection"]
        connection.close()

    def over_grpc(number):
        request = message("inference.ModelInferRequest")(model_name="graph")
        tensor = request.inputs.add(name="what", datatype="INT64", shape=[1, 3])
        tensor.contents.int64_contents.extend([TURNS + number, 1, 1])
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer").future(
            request.SerializeToString(), timeout=300
        )
        sent.release()
        answer = message("inference.ModelInferResponse").FromString(call.result())
        found[number] = list(answer.outputs[0].contents.int64_contents)

    threads = [threading.Thread(target=over_grpc if n % 2 else over_http, args=(n,)) for n in range(1, 41)]
    grpc.channel_ready_future(channel).result(60)
    for thread in threads:
        thread.start()
    for _ in threads:
        assert sent.acquire(timeout=60)
    parent.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    channel.close()
    _, errors = parent.communicate(timeout=120)
    assert (parent.returncode, errors) == (0, "")
    assert sorted(found) == list(range(1, 41))
    for number, answer in found.items():
        if number % 2:
            assert answer == [TURNS + number]
        else:
            assert answer[:2] == (200, [[TURNS + number]])
    assert "close" in {answer[2] for number, answer in found.items() if not number % 2}


@pytest.mark.parametrize("when", ["listening", "started", "proved"])
def test_a_signal_while_it_starts_leaves_no_process(moody, when):
    module, owner, name = {
        "listening": ("_prepare", "", "listen"),
        "started": ("processes.workers", "Workers", "start"),
        "proved": ("sources.catalog", "Catalog", "prove"),
    }[when]
    text = f"""
import importlib, psutil
place = importlib.import_module("deploykit.serving.{module}")
place = getattr(place, {owner!r}) if {owner!r} else place
before = getattr(place, {name!r})
def slowly(*arguments, **more):
    found = before(*arguments, **more)
    print(*(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
    sys.stdin.read()
    return found
setattr(place, {name!r}, slowly)
dk.serve(sys.argv[1], port=0, workers=2, block=True)
"""
    script = f"import sys\nimport deploykit as dk\n{text}\n"
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(moody.path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
    assert len(children) >= (0 if when == "listening" else 2)
    parent.send_signal(signal.SIGTERM)
    _, errors = parent.communicate(timeout=60)
    assert (parent.returncode, errors) == (143, "")
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
