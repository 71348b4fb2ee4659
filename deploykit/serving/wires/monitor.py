"""What the monitor says, and labels that come after the answers."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from deploykit.core.errors import DeploykitError, UnknownRequestError
from deploykit.core.serial import dump
from deploykit.serving.control import check_origin
from deploykit.serving.faults import InvalidInputError, NotFoundError, UnavailableError
from deploykit.serving.service import Service
from deploykit.serving.wires._contract import Endpoint, Headers, HTTPWire, Response
from deploykit.serving.wires._json import read_json

_FEEDBACK = re.compile(r"/monitor/models/(?P<model>[^/:]+)/feedback/?", re.IGNORECASE)
_HISTORY = re.compile(r"/monitor/models/(?P<model>[^/:]+)/versions/(?P<version>\d+)/history/?", re.IGNORECASE)
#: Most labels of one request.
_MOST_LABELS = 10_000


class MonitorWire(HTTPWire):
    """Status, alarms and history of the monitor; labels for requests that were answered."""

    name = "monitor"
    label = "Monitor"
    help = "Latency, drift, accuracy and alarms, under /monitor; labels by request id for a model's /feedback."
    prefix = "/monitor"

    def endpoint(self, path: str, service: Service) -> Endpoint | None:
        """The status, a history, or where labels go."""
        if path.lower().rstrip("/") == "/monitor":
            return Endpoint("GET", partial(_asked, service, "monitor", {}), "metrics")
        if (match := _HISTORY.fullmatch(path)) is not None:
            about = {"name": match["model"], "version": match["version"]}
            return Endpoint("GET", partial(_asked, service, "history", about), "metrics")
        if (match := _FEEDBACK.fullmatch(path)) is None:
            return None
        service.model(match["model"])
        return Endpoint("POST", partial(_feedback, service, match["model"]))

    def example(self, model: str) -> str:
        """None: it is not about predictions."""
        return ""


async def _asked(service: Service, what: str, about: dict[str, Any], _: bytes, __: Headers) -> Response:
    return Response(200, dump(await _ask(service, what, about)))


async def _ask(service: Service, what: str, about: dict[str, Any]) -> Any:
    if service.ask is None:
        raise UnavailableError("This server has no monitor: it was started without one.")
    return await service.ask(what, about)


async def _feedback(service: Service, model: str, body: bytes, headers: Headers) -> Response:
    check_origin(headers)
    found = read_json(body)
    labels = found.get("labels") if isinstance(found, dict) else None
    if not isinstance(labels, dict) or not labels or len(labels) > _MOST_LABELS:
        raise InvalidInputError(
            'Expected a JSON object {"labels": {request id: label}} with 1 to 10,000 labels: a class (index or name) '
            "or a number each, or a list with one for each example of the request."
        )
    try:
        taken = await _ask(service, "feedback", {"name": model, "labels": labels})
    except UnknownRequestError as error:
        raise NotFoundError(str(error)) from error
    except DeploykitError as error:
        raise InvalidInputError(str(error)) from error
    return Response(200, dump({"labelled": taken}))


ADAPTER = MonitorWire()
