"""Orders beyond those of the other protocols: how a model's requests are spread over its versions."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from deploykit.core.errors import SettingError
from deploykit.core.serial import dump
from deploykit.serving.control import check_origin, control
from deploykit.serving.faults import InvalidInputError
from deploykit.serving.service import Service
from deploykit.serving.splits import Split
from deploykit.serving.wires._contract import Endpoint, Headers, HTTPWire, Response, get
from deploykit.serving.wires._json import read_json

_SPLIT = re.compile(r"/control/models/(?P<model>[^/:]+)/split/?", re.IGNORECASE)


class ControlWire(HTTPWire):
    """States and shares of versions."""

    name = "control"
    label = "Control"
    help = "Versions, their states, and the shares of a canary and a shadow, under /control/models."
    prefix = "/control"

    def endpoint(self, path: str, service: Service) -> Endpoint | None:
        """States of all models, or the shares of one."""
        if path.lower().rstrip("/") == "/control/models":
            return get(lambda: dump({"models": facts(service)}), "admin")
        match = _SPLIT.fullmatch(path)
        if match is None:
            return None
        service.states(match["model"])
        return Endpoint("POST", partial(_split, service, match["model"]), "admin")

    def example(self, model: str) -> str:
        """None: it is not about predictions."""
        return ""


def facts(service: Service) -> list[dict[str, Any]]:
    """Versions of all models, their states, labels and shares."""
    table = service.table
    return [
        {
            "name": name,
            "versions": [{"version": version, **state._asdict()} for version, state in service.states(name).items()],
            "labels": table.labels.get(name, {}),
            "split": table.splits.get(name, Split()).to_json(),
        }
        for name in service.known
    ]


async def _split(service: Service, name: str, body: bytes, headers: Headers) -> Response:
    check_origin(headers)
    found = read_json(body)
    known = tuple(Split().to_json())
    if not isinstance(found, dict) or not set(found) <= set(known):
        raise InvalidInputError(f"Expected a JSON object with some of {', '.join(known)}.")
    try:
        split = Split(**found)
    except SettingError as error:
        raise InvalidInputError(str(error)) from error
    await control(service, "split", {"name": name, "split": split.to_json()})
    return Response(200, dump(split.to_json()))


ADAPTER = ControlWire()
