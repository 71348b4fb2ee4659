"""Sweeps on real worker processes: the same rows as here, machines kept free for timing, workers lost on the way."""

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import psutil
import pytest
from onnx import TensorProto, helper

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.errors import EngineError, SettingError
from deploykit.engines._contract import find
from deploykit.engines.dask import ADAPTER, _await_scheduler
from deploykit.runtimes._contract import RUNTIMES
from deploykit.testing import models
from deploykit.testing.cluster import Cluster, wait_until

pytestmark = pytest.mark.alone

_ENDLESS = """
import sys
import numpy as np
import deploykit as dk
from deploykit.core.candidate import Target

if __name__ == "__main__":
    data = dk.Dataset.from_arrays(np.ones((100, 1, 8, 8), np.float32))
    dk.sweep(dk.load(sys.argv[1]), data, dk.Space([], [Target("onnxruntime")]), store=sys.argv[2], engine=sys.argv[3])
"""
_SPACE = dk.Space([Recipe((Step("quantize_dynamic"),)), Recipe((Step("quantize_static"),))], [Target("onnxruntime")])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return dk.load(models.build("cnn_external_onnx", tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return dk.Dataset.from_arrays(rng.random((400, 1, 8, 8)).astype(np.float32), rng.integers(0, 3, 400))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("cluster"), 2) as running:
        yield running


def session_of(pid):
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def start_endless(folder, engine):
    """A driver of a sweep of a model that never answers."""
    info = helper.make_tensor_value_info
    shape = ["batch", 1, 8, 8]
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Identity", ["x"], ["same"])],
        "body",
        [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, []), info("x", TensorProto.FLOAT, shape)],
        [info("go_on", TensorProto.BOOL, []), info("same", TensorProto.FLOAT, shape)],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["", "always", "image"], ["out"], body=body)],
        "endless",
        [info("image", TensorProto.FLOAT, shape)],
        [info("out", TensorProto.FLOAT, shape)],
        [helper.make_tensor("always", TensorProto.BOOL, [], [True])],
    )
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]), folder / "m.onnx")
    (folder / "driver.py").write_text(_ENDLESS)
    command = [sys.executable, str(folder / "driver.py"), str(folder / "m.onnx"), str(folder / "s"), engine]
    environment = {**os.environ, "PYTHONPATH": str(Path(dk.__file__).parents[1])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


class Spans(logging.Handler):
    """What ran where and when, as the engine logs it: (kind, task, address, machine, begin, end)."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.found = []

    def emit(self, record):
        if record.levelno == logging.DEBUG:
            self.found.append(record.args)


@pytest.fixture
def spans():
    handler, logger = Spans(), logging.getLogger("deploykit.engines._remote")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def overlaps(found):
    """Pairs of a timing and anything else at the same time on the same machine."""
    timings = [s for s in found if s[0] == "exclusive"]
    return [
        (a, b) for a in timings for b in found
        if a is not b and a[3] == b[3] and a[4] < b[5] and b[4] < a[5]
    ]  # fmt: skip


@pytest.mark.long
def test_the_rows_are_those_of_a_local_sweep_and_nothing_overlaps_a_timing(cluster, model, data, spans, tmp_path):
    events = []
    far = dk.sweep(
        model, data, _SPACE, store=tmp_path / "far", engine=cluster.engine, launches=2, progress=events.append
    )
    near = dk.sweep(model, data, _SPACE, store=tmp_path / "near", launches=2, progress=lambda _p: None)
    assert [r.artifact_digest for r in far.rows] == [r.artifact_digest for r in near.rows]
    assert [r.measurement.scores for r in far.rows] == [r.measurement.scores for r in near.rows]
    assert all(r.measurement.latency.launches >= 2 and r.measurement.environment["host"] for r in far.rows)
    assert {"build", "accuracy", "latency", "done"} <= {e.phase for e in events}
    assert {s[2] for s in spans.found} == set(cluster.pids())
    assert sum(s[0] == "exclusive" for s in spans.found) >= 2
    assert overlaps(spans.found) == []
    again = dk.sweep(model, data, _SPACE, store=tmp_path / "far", launches=2, progress=events.append)
    assert events[-1].reused == events[-1].total
    assert again.rows == far.rows


@pytest.mark.long
def test_data_on_a_shared_disk_are_read_in_place(model, data, caplog, tmp_path):
    (tmp_path / "disk").mkdir()
    with Cluster(tmp_path / "cluster", 2, shared=(str(tmp_path / "disk"),)) as cluster:
        with caplog.at_level(logging.INFO, logger="deploykit.engines._remote"):
            far = dk.sweep(
                model, data, _SPACE, store=tmp_path / "disk" / "far", engine=cluster.engine, launches=0,
                progress=lambda _p: None,
            )  # fmt: skip
        near = dk.sweep(model, data, _SPACE, store=tmp_path / "near", launches=0, progress=lambda _p: None)
        assert [r.measurement.scores for r in far.rows] == [r.measurement.scores for r in near.rows]
        assert "where it lies" in caplog.text
        assert not list((cluster.folder / "shelf" / "trees").rglob("*.npy"))
        other = dk.Dataset.from_arrays(1 - data.splits["evaluation"].inputs["input"])
        dk.sweep(
            model, other, _SPACE, store=tmp_path / "apart", engine=cluster.engine, launches=0, progress=lambda _p: None
        )
        assert list((cluster.folder / "shelf" / "trees").rglob("*.npy"))  # this store is not on the shared disk


def test_a_device_nobody_offers_is_refused_before_the_start(cluster, model, data, tmp_path):
    space = dk.Space(_SPACE.recipes, [Target("onnxruntime"), Target("onnxruntime", device="cuda")])
    with pytest.raises(EngineError, match=r"No worker offers the device cuda; there is tcp://\S+ \(cpu; 1 slot\)"):
        dk.sweep(model, data, space, store=tmp_path / "s", engine=cluster.engine, progress=lambda _p: None)


def test_an_existing_client_is_used_and_left_open(cluster, model, data, tmp_path):
    from distributed import Client

    with Client(cluster.address, set_as_default=False) as client:
        report = dk.sweep(
            model, data, dk.Space([], [Target("onnxruntime")]), store=tmp_path / "s", engine=client, launches=2,
            progress=lambda _p: None,
        )  # fmt: skip
        assert report.finished
        assert client.status == "running"


def test_other_versions_are_refused(cluster, model, data, monkeypatch, tmp_path):
    monkeypatch.setattr("deploykit.engines._fleet.__version__", "99.0")
    with pytest.raises(EngineError, match=r"has deploykit \S+, this machine has 99\.0"):
        dk.sweep(model, data, _SPACE, store=tmp_path / "s", engine=cluster.engine, progress=lambda _p: None)


def test_other_versions_of_what_the_sweep_uses_are_refused_and_of_nothing_else(
    cluster, model, data, monkeypatch, tmp_path
):
    """The driver seems to have other packages than the workers."""

    def pretend(name, package):
        runtime = RUNTIMES.get(name)
        monkeypatch.setattr(type(runtime), "versions", lambda _self: {package: "99.0"})

    space = dk.Space([], [Target("onnxruntime")])
    pretend("litert", "ai-edge-litert")
    report = dk.sweep(
        model, data, space, store=tmp_path / "s", engine=cluster.engine, launches=0, progress=lambda _p: None
    )
    assert report.rows[0].status == "measured"
    pretend("onnxruntime", "onnxruntime")
    with pytest.raises(EngineError, match=rf"has onnxruntime {onnxruntime.__version__} \(here 99\.0\)"):
        dk.sweep(model, data, space, store=tmp_path / "t", engine=cluster.engine, progress=lambda _p: None)


def test_an_adapter_the_workers_lack_is_named(cluster):
    from distributed import Client

    from deploykit.engines import _worker

    with Client(cluster.address, set_as_default=False) as client:
        found = client.run(_worker.versions, [{"package": "deploykit.runtimes", "name": "mine", "variant": ""}])
    assert all("mine" in reply[0] for reply in found.values())


def test_no_scheduler(model, data, monkeypatch, tmp_path):
    monkeypatch.setattr("deploykit.engines.dask._CONNECT_S", 0.5)
    with pytest.raises(EngineError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        dk.sweep(model, data, _SPACE, store=tmp_path / "s", engine="dask://tcp://127.0.0.1:9", progress=lambda _p: None)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nowhere", "'nowhere' is not the address of a Dask scheduler"),
        ("tcp://127.0.0.1:9", r"No Dask scheduler answers at tcp://127\.0\.0\.1:9: .*refused"),
    ],
)
def test_a_worker_without_a_scheduler_says_so(address, said, monkeypatch):
    monkeypatch.setattr("deploykit.engines.dask._JOIN_S", 0.0)
    with pytest.raises(EngineError, match=said):
        ADAPTER.work(address, 1, [], "")


def _working(session):
    """Children that run a task in a worker's session: forked from a parent that has imported the frameworks."""
    found = {p.pid: p for p in psutil.process_iter() if session_of(p.pid) == session}
    return [p for p in found.values() if p.ppid() in found and "sandbox.child" in " ".join(found[p.ppid()].cmdline())]


def test_a_worker_ends_what_a_killed_driver_has_asked_for(cluster, tmp_path):
    """An endless loop in the model: only the end of the driver can end its child."""
    driver = start_endless(tmp_path, cluster.engine)
    sessions = {session_of(pid) for pid in cluster.pids().values()}
    spinning = []

    def spins():
        spinning[:] = [p for s in sessions for p in _working(s) if p.cpu_times().user > 1]
        return spinning or driver.poll() is not None

    assert wait_until(spins)
    assert driver.poll() is None, driver.communicate()[1]
    driver.kill()
    driver.communicate()
    assert wait_until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in spinning), 5)


@pytest.mark.long
def test_one_kind_of_hardware_times_all(cluster, model, data, spans, tmp_path):
    """A third worker may use one core only: it builds and evaluates, and times nothing."""
    usual = cluster.pids()
    cluster.add(cores=frozenset([min(os.sched_getaffinity(0))]))
    cluster.wait_for(3)
    (pinned,) = set(cluster.pids()) - set(usual)
    try:
        report = dk.sweep(
            model, data, _SPACE, store=tmp_path / "s", engine=cluster.engine, launches=2, progress=lambda _p: None
        )
    finally:
        Cluster.send(cluster.pids()[pinned], signal.SIGKILL)
    assert {r.measurement.environment["cores"] for r in report.rows} == {len(os.sched_getaffinity(0))}
    assert {s[2] for s in spans.found if s[0] == "exclusive"} <= set(usual)
    assert wait_until(lambda: len(cluster.pids()) == 2)


@pytest.mark.long
@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_worker_loses_nothing(fault, cluster, model, data, spans, tmp_path):
    """The worker that times is killed, or cut off; the launch is redone on another one, and the rows say so."""
    cluster.add()
    cluster.wait_for(3)
    pids, struck = cluster.pids(), []

    def strike(progress):
        timing = [s[2] for s in spans.found if s[0] == "exclusive"]
        if timing and not struck and "round 2" in progress.doing:
            struck.append(timing[0])
            Cluster.send(pids[timing[0]], fault)

    try:
        report = dk.sweep(model, data, _SPACE, store=tmp_path / "s", engine=cluster.engine, launches=3, progress=strike)
    finally:
        if struck and fault == signal.SIGSTOP:  # the cluster cannot be asked anything while it waits for this one
            Cluster.send(pids[struck[0]], signal.SIGKILL)
    assert [r.status for r in report.rows] == ["measured"] * 3
    launches = [s for s in spans.found if s[0] == "exclusive"]
    assert set(struck) < {s[2] for s in launches}
    assert any(r.lost_workers and struck[0] in r.lost_workers[0] for r in report.rows)
    noted = next(r.key for r in report.rows if r.lost_workers)
    assert "lost during the sweep and its work was repeated: " in report.choice_for(noted).explain()
    assert wait_until(lambda: len(cluster.pids()) == 2)


# -- who can reach a worker -------------------------------------------------------------------------------------------


def listening(session):
    """Addresses on which the processes of a session listen."""
    found = set()
    for pid in [pid for pid in psutil.pids() if session_of(pid) == session]:
        with contextlib.suppress(psutil.Error):
            connections = psutil.Process(pid).net_connections("inet")
            found |= {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
    return found


def test_a_worker_listens_only_where_its_scheduler_reaches_it(cluster):
    for pid in cluster.pids().values():
        assert listening(session_of(pid)) == {"127.0.0.1"}


def test_the_address_that_reaches_a_scheduler():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert _await_scheduler(f"tcp://127.0.0.1:{port}") == "127.0.0.1"
        assert _await_scheduler(f"tls://localhost:{port}") == "127.0.0.1"


@pytest.mark.parametrize(
    ("engine", "address"),
    [
        ("dask://host:8786", "host:8786"), ("dask://tls://host:8786", "tls://host:8786"),
        ("dask+tls://host:8786", "tls://host:8786"), ("tls://host:8786", "tls://host:8786"),
        ("tcp://host:8786", "tcp://host:8786"),
    ],
)  # fmt: skip
def test_addresses_may_say_how_they_are_reached(engine, address):
    assert find(engine) == (ADAPTER, address)


@pytest.mark.parametrize("engine", ["ftp://host", "dsk+tls://host"])
def test_addresses_of_nobody(engine):
    with pytest.raises(SettingError, match="Unknown engine"):
        find(engine)


def test_tls_files_are_for_encrypted_addresses_and_must_be_there(tmp_path):
    files = dict.fromkeys(("ca_file", "cert", "key"), str(tmp_path / "none.pem"))
    with pytest.raises(EngineError, match=r"TLS files are given, but tcp://host:8786 is not encrypted"):
        ADAPTER.work("tcp://host:8786", 1, [], "", tls=files)
    with pytest.raises(EngineError, match=r"--tls-ca-file: '.*none\.pem' is not a file"):
        ADAPTER.work("tls://host:8786", 1, [], "", tls=files)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate that vouches for itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
               "-subj", "/CN=localhost"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return {"ca_file": str(cert), "cert": str(cert), "key": str(key)}


def test_a_sweep_over_encrypted_connections(certificate, model, data, tmp_path):
    import dask

    space = dk.Space([], [Target("onnxruntime")])
    with Cluster(tmp_path / "cluster", 1, tls=certificate) as cluster:
        assert cluster.address.startswith("tls://")
        settings = {"distributed.comm.tls.ca-file": certificate["ca_file"]}
        settings |= {f"distributed.comm.tls.client.{k}": certificate[k] for k in ("cert", "key")}
        with dask.config.set(settings):
            report = dk.sweep(
                model, data, space, store=tmp_path / "s", engine=cluster.address, launches=0, progress=lambda _p: None
            )
        assert report.rows[0].status == "measured"
        with pytest.raises(EngineError, match=r"The Dask scheduler at tls://.* cannot be trusted") as caught:
            dk.sweep(model, data, space, store=tmp_path / "t", engine=cluster.address, progress=lambda _p: None)
        assert "DASK_DISTRIBUTED__COMM__TLS__CA_FILE" in caught.value.remedy
