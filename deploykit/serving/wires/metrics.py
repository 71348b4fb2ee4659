"""Metrics as Prometheus asks for them, of all workers together: any of them may be asked."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from deploykit.serving.faults import UnavailableError
from deploykit.serving.meter import BOUNDS_EXAMPLES, BOUNDS_S, Series, read
from deploykit.serving.service import Service
from deploykit.serving.wires._contract import Endpoint, Headers, HTTPWire, Response
from deploykit.serving.wires._gpus import gpus

#: The smallest upper end that is shown: no request is quicker.
_SMALLEST_S = 4e-6
_MODEL = ("model", "version")


class Metrics(HTTPWire):
    """Counters, histograms and gauges."""

    name = "metrics"
    label = "Prometheus metrics"
    help = "Requests, their stages, batches, processes: of all workers together, for Prometheus."
    prefix = "/metrics"
    others = ("/monitoring/prometheus/metrics",)  # TensorFlow Serving's

    def endpoint(self, path: str, service: Service) -> Endpoint | None:
        """The metrics."""
        if path.rstrip("/") not in (self.prefix, *self.others):
            return None
        return Endpoint("GET", partial(_metrics, service), "metrics")

    def example(self, model: str) -> str:
        """None: metrics are of the server."""
        return ""


async def _metrics(service: Service, _: bytes, headers: Headers) -> Response:
    if service.meter is None:
        raise UnavailableError("The server does not count: its temporary files were removed. Restart it.")
    service.meter.flush()
    accepted = next((value.decode("latin-1") for name, value in headers if name == b"accept"), "")
    # In a thread: it imports the library the first time, and reads the files of all workers.
    alarms = [] if service.ask is None else await service.ask("alarms", {})
    work = partial(_rendered, service, accepted, alarms)
    body, kind = await asyncio.get_running_loop().run_in_executor(None, work)
    return Response(200, body, kind.encode())


def _rendered(service: Service, accepted: str, alarms: Sequence[Sequence[str]]) -> tuple[bytes, str]:
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    assert service.meter is not None
    files = service.meter.files

    class Collector:
        def collect(self) -> Iterator[Any]:
            yield from families(read(files))
            yield _models(service)
            yield _alarms(alarms)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    encode, kind = choose_encoder(accepted)
    return encode(registry), kind


def text(files: Iterable[Path]) -> str:
    """What is in some meters' files, in Prometheus' text."""
    from prometheus_client import CollectorRegistry, generate_latest

    class Collector:
        def collect(self) -> Iterator[Any]:
            yield from families(read(files))

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return generate_latest(registry).decode()


def families(found: Iterable[Series]) -> Iterator[Any]:
    """Metrics of these series, those of several workers added up."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    sums: dict[tuple[str, tuple[str, ...]], list[int]] = defaultdict(lambda: [0] * (len(BOUNDS_S) + 2))
    pids = []
    for series in found:
        if series.kind == "process":
            pids.append(series.total)
            continue
        cells = sums[series.kind, series.labels]
        for place, value in enumerate((series.total, *series.buckets)):
            cells[place] += value
    requests = CounterMetricFamily("deploykit_requests", "Requests by status.", labels=[*_MODEL, "protocol", "status"])
    stages = HistogramMetricFamily(
        "deploykit_stage_seconds", "Time of the stages of predictions.", labels=[*_MODEL, "protocol", "stage"]
    )
    whole = HistogramMetricFamily(
        "deploykit_request_seconds", "Time of predictions, from their last byte to their answer.",
        labels=[*_MODEL, "protocol"],
    )  # fmt: skip
    batches = HistogramMetricFamily("deploykit_batch_examples", "Examples that ran together.", labels=_MODEL)
    copies = CounterMetricFamily(
        "deploykit_shadow", "Copies of requests by how their answers compare.", labels=[*_MODEL, "answered", "outcome"]
    )
    labeled = CounterMetricFamily(
        "deploykit_labeled", "Labeled copies of examples by who was right.", labels=[*_MODEL, "answered", "outcome"]
    )
    waiting = GaugeMetricFamily(
        "deploykit_waiting_batches", "Batches that wait or run where a model is not quick.", labels=_MODEL
    )
    for (kind, labels), numbers in sorted(sums.items()):
        total, buckets = numbers[0], numbers[1:]
        if kind == "requests":
            requests.add_metric(labels, total)
        elif kind == "seconds" and labels[-1]:
            stages.add_metric(labels, _cumulative(BOUNDS_S, buckets), total / 1e9)
        elif kind == "seconds":
            whole.add_metric(labels[:-1], _cumulative(BOUNDS_S, buckets), total / 1e9)
        elif kind == "examples":
            batches.add_metric(labels, _cumulative(BOUNDS_EXAMPLES, buckets), total)
        elif kind == "waiting":
            waiting.add_metric(labels, total)
        elif kind == "shadow":
            copies.add_metric(labels, total)
        elif kind == "labels":
            labeled.add_metric(labels, total)
    yield from (requests, stages, whole, batches, copies, labeled, waiting, *_processes(pids), *gpus(pids))


def _cumulative(bounds: Sequence[float], buckets: Sequence[int]) -> list[tuple[str, float]]:
    """Upper end and how many are not above it, as Prometheus wants them."""
    found, count = [], 0
    for place, bound in enumerate(bounds):
        count += buckets[place]
        if bound >= _SMALLEST_S:
            found.append((repr(float(bound)), float(count)))
    return [*found, ("+Inf", float(count + sum(buckets[len(bounds) :])))]


def _processes(pids: Sequence[int]) -> Iterator[Any]:
    """CPU and memory of the workers."""
    import psutil
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    cpu = CounterMetricFamily("deploykit_worker_cpu_seconds", "CPU time of a worker.", labels=["pid"])
    memory = GaugeMetricFamily("deploykit_worker_resident_bytes", "Resident memory of a worker.", labels=["pid"])
    for pid in pids:
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                times, resident = process.cpu_times(), process.memory_info().rss
        except psutil.Error:  # it has ended, and its successor is not there yet
            continue
        cpu.add_metric([str(pid)], times.user + times.system)
        memory.add_metric([str(pid)], resident)
    yield from (cpu, memory)


def _models(service: Service) -> Any:
    from prometheus_client.core import GaugeMetricFamily

    served = GaugeMetricFamily("deploykit_model", "Models that are served.", labels=[*_MODEL, "platform"])
    for model in service.models:
        served.add_metric([model.name, model.version, model.plane.platform], 1)
    return served


def _alarms(alarms: Sequence[Sequence[str]]) -> Any:
    from prometheus_client.core import GaugeMetricFamily

    found = GaugeMetricFamily(
        "deploykit_alarm", "Alarms of the monitor that last.", labels=["kind", *_MODEL, "subject"]
    )
    for labels in alarms:
        found.add_metric(labels, 1)
    return found


ADAPTER = Metrics()
