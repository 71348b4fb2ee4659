"""Other servers, each in an environment of its own, and the model that all of them serve."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

from deploykit.testing import graphs

HOME = Path(__file__).parent
sys.path.insert(0, str(HOME))

import environments  # noqa: E402

_CACHE = Path("~/.cache/deploykit-bench").expanduser()
#: What is installed for each peer; KServe's SDK, MLServer and Triton take 1.5 GB together.
REQUIREMENTS = {
    "mlserver": ("mlserver==1.7.1", "onnxruntime"),
    "triton": ("nvidia-pytriton==0.7.0", "onnxruntime", "numpy<2"),
    "kserve": ("kserve==0.15.2", "onnxruntime"),
}


class Running(NamedTuple):
    """A server that answers.

    Attributes:
        port: Its port for HTTP.
        pid: Its process.
        grpc_port: Its port for gRPC.
    """

    port: int
    pid: int
    grpc_port: int = 0


def mlp(folder: Path) -> Path:
    """The model."""
    rng = np.random.default_rng(0)
    nodes = [
        graphs.node("MatMul", ["x", "w1"], ["h1"]),
        graphs.node("Relu", ["h1"], ["h2"]),
        graphs.node("MatMul", ["h2", "w2"], ["h3"]),
        graphs.node("Softmax", ["h3"], ["y"]),
    ]
    inputs, outputs = [graphs.value("x", "float32", "N", 784)], [graphs.value("y", "float32", "N", 10)]
    weights = {name: rng.normal(0, 0.05, size).astype("f4") for name, size in (("w1", (784, 128)), ("w2", (128, 10)))}
    return graphs.graph(folder, nodes, inputs, outputs, **weights)


def family(pid: int) -> list[psutil.Process]:
    """A server's processes: Triton runs Python backends in processes of their own."""
    server = psutil.Process(pid)
    return [server, *server.children(recursive=True)]


def spent(processes: list[psutil.Process]) -> float:
    """CPU seconds of processes."""
    return sum(times.user + times.system for times in (one.cpu_times() for one in processes))


def installed(name: str) -> Path:
    """An environment with a peer."""
    return environments.made(_CACHE / name, REQUIREMENTS[name])


@contextlib.contextmanager
def start_mlserver(model: Path, name: str, folder: Path) -> Iterator[Running]:
    """Start MLServer and wait until it answers."""
    ports = free_ports(3)
    settings: dict[str, Any] = dict(zip(("http_port", "grpc_port", "metrics_port"), ports, strict=True))
    home = folder / "mlserver"
    home.mkdir()
    (home / "settings.json").write_text(json.dumps({**settings, "parallel_workers": 0, "host": "127.0.0.1"}))
    described = {"name": name, "implementation": "mlserver_onnx.OnnxModel", "parameters": {"uri": str(model)}}
    (home / "model-settings.json").write_text(json.dumps(described))
    command = [installed("mlserver") / "bin" / "mlserver", "start", home]
    with started(command, {"PYTHONPATH": str(HOME)}, ports[0], ready(name), folder / "mlserver.log") as pid:
        yield Running(ports[0], pid, ports[1])


@contextlib.contextmanager
def start_triton(model: Path, name: str, folder: Path) -> Iterator[Running]:
    """Start Triton with a model and wait until it answers."""
    models = folder / "models"
    (models / name / "1").mkdir(parents=True)
    shutil.copy(model, models / name / "1" / "model.onnx")
    (models / name / "config.pbtxt").write_text(
        'backend: "onnxruntime"\nmax_batch_size: 8\ndynamic_batching {}\n'
        'input [{name: "x" data_type: TYPE_FP32 dims: [784]}]\noutput [{name: "y" data_type: TYPE_FP32 dims: [10]}]\n'
    )
    with triton(models, name, folder) as running:
        yield running


@contextlib.contextmanager
def triton(models: Path, name: str, folder: Path, *flags: str) -> Iterator[Running]:
    """Start Triton with a repository of ONNX models and wait until one of them answers.

    Its wheel has the Python backend alone, so that one built on it runs what the configuration calls ``onnxruntime``.
    """
    (packages,) = installed("triton").glob("lib/python*/site-packages")
    server, version = packages / "pytriton" / "tritonserver", f"{sys.version_info[0]}.{sys.version_info[1]}"
    backends = folder / "backends"
    shutil.copytree(server / "backends" / "python", backends / "python")
    shutil.copy(server / "python_backend_stubs" / version / "triton_python_backend_stub", backends / "python")
    (backends / "onnxruntime").mkdir()
    shutil.copy(HOME / "triton_onnx.py", backends / "onnxruntime" / "model.py")
    ports = free_ports(2)
    command = [
        server / "bin" / "tritonserver", f"--model-repository={models}", f"--backend-directory={backends}",
        "--http-address=127.0.0.1", f"--http-port={ports[0]}", "--grpc-address=127.0.0.1", f"--grpc-port={ports[1]}",
        "--allow-metrics=false", *flags,
    ]  # fmt: skip
    libraries = f"{packages / 'nvidia_pytriton.libs'}:{sysconfig.get_config_var('LIBDIR')}"
    environment = {"LD_LIBRARY_PATH": libraries, "TRITON_PACKAGES": str(packages)}
    with started(command, environment, ports[0], ready(name), folder / "triton.log") as pid:
        yield Running(ports[0], pid, ports[1])


@contextlib.contextmanager
def start_kserve(model: Path, name: str, folder: Path) -> Iterator[Running]:
    """Start a model of KServe's SDK and wait until it answers."""
    ports = free_ports(2)
    command = [
        installed("kserve") / "bin" / "python", HOME / "kserve_onnx.py", "--model_name", name, "--model", model,
        "--http_port", ports[0], "--grpc_port", ports[1], "--workers", 1,
    ]  # fmt: skip
    with started(list(map(str, command)), {}, ports[0], ready(name), folder / "kserve.log") as pid:
        yield Running(ports[0], pid, ports[1])


def ready(name: str) -> str:
    """Where the Open Inference Protocol says whether a model is ready."""
    return f"/v2/models/{name}/ready"


@contextlib.contextmanager
def started(command: list[Any], environment: dict[str, str], port: int, path: str, log: Path) -> Iterator[int]:
    """A process of a server, once it answers a GET of a path with 200; ended with the processes it has started.

    It is started in the folder of its log, where some leave further files.
    """
    with log.open("wb") as out, subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=out, stderr=out, cwd=log.parent
    ) as process:  # fmt: skip
        try:
            while process.poll() is None:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
                    connection.request("GET", path)
                    if connection.getresponse().status == 200:
                        break
                time.sleep(0.1)
            else:
                raise RuntimeError(log.read_text()[-2000:])
            yield process.pid
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                for one in family(process.pid):
                    one.terminate()


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
