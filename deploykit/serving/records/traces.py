"""Traces (OpenTelemetry): a span for each request, with one for each of its stages.

Spans are made when the answer is out, from the times that were taken anyway: the request itself pays nothing. Where
they go, and how many, is for the standard environment variables to say (``OTEL_EXPORTER_OTLP_ENDPOINT``,
``OTEL_TRACES_SAMPLER``, ``OTEL_SERVICE_NAME``, …).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from deploykit._version import __version__
from deploykit.core.errors import SettingError
from deploykit.core.extras import require
from deploykit.serving.meter import STAGES
from deploykit.serving.records.entry import Entry, wall
from deploykit.serving.records.recorder import Act, Sink

_PROTOCOLS = ("http/protobuf", "grpc")


class Traces(Sink):
    """Sends spans.

    Args:
        exporter: Where spans go; None: where the environment says.

    Raises:
        MissingExtraError: OpenTelemetry is not installed.
        SettingError: The environment names a protocol that there is not.
    """

    def __init__(self, exporter: Any = None) -> None:
        sdk = _api("sdk.trace")
        kind = _api("sdk.resources").Resource
        own = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "deploykit"}
        self._provider = sdk.TracerProvider(resource=kind.create(own), shutdown_on_exit=False)
        self._provider.add_span_processor(_api("sdk.trace.export").BatchSpanProcessor(exporter or _exporter()))
        self._tracer = self._provider.get_tracer("deploykit.serving", __version__)
        self._propagator = _api("trace.propagation.tracecontext").TraceContextTextMapPropagator()
        self._api = _api("trace")
        # Spans of whatever else this thread does must not become parents.
        self._nothing = _api("context").Context()

    def write(self, found: Sequence[Entry | Act], lost: int) -> None:
        """Send a span for each request."""
        del lost
        for entry in found:
            if isinstance(entry, Entry):
                self._send(entry)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()

    def _send(self, entry: Entry) -> None:
        visit, api = entry.visit, self._api
        parent = self._propagator.extract({"traceparent": entry.client.decode()}, self._nothing)
        attributes: dict[str, str | int] = {
            "deploykit.request_id": entry.id,
            "deploykit.protocol": entry.protocol,
            "deploykit.status": entry.status,
            "http.request.method" if entry.protocol != "grpc" else "rpc.method": (
                entry.method if entry.protocol != "grpc" else entry.path.rpartition("/")[2]
            ),
            "url.path": entry.shown_path,
        }
        if entry.status.isdigit():
            attributes["http.response.status_code"] = int(entry.status)
        if visit.model:
            attributes |= {
                "deploykit.model": visit.model,
                "deploykit.version": visit.version,
                "deploykit.examples": visit.examples,
            }
        if entry.token:
            attributes["enduser.id"] = entry.token
        name = f"{entry.protocol} {visit.model}" if visit.model else f"{entry.protocol} {entry.method}".strip()
        span = self._tracer.start_span(
            name, parent, api.SpanKind.SERVER, attributes=attributes, start_time=_ns(visit.arrived)
        )
        if entry.status.startswith("5") or entry.status in ("INTERNAL", "UNAVAILABLE"):
            span.set_status(api.Status(api.StatusCode.ERROR))
        if visit.ended and span.is_recording():
            inside = api.set_span_in_context(span, self._nothing)
            marks = (visit.arrived, visit.decoded, visit.began, visit.ended, entry.ended)
            for place, stage in enumerate(STAGES):
                child = self._tracer.start_span(stage, inside, start_time=_ns(marks[place]))
                child.end(_ns(marks[place + 1]))
        span.end(_ns(entry.ended))


def _ns(moment: float) -> int:
    return int(1e9 * wall(moment))


def _exporter() -> Any:
    """That of OTLP, by the protocol that the environment names."""
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = protocol or _PROTOCOLS[0]
    if protocol not in _PROTOCOLS:
        raise SettingError(
            f"OTEL_EXPORTER_OTLP_PROTOCOL must be one of {', '.join(_PROTOCOLS)}, got {protocol!r}.",
            remedy="unset it for http/protobuf.",
        )
    kind = "grpc" if protocol == "grpc" else "http"
    return _api(f"exporter.otlp.proto.{kind}.trace_exporter").OTLPSpanExporter()


def _api(name: str) -> Any:
    """A module of OpenTelemetry's."""
    return require(f"opentelemetry.{name}", "otel")
