"""What is left of an HTTP request when it is answered: its id in the answer, and a record where that is asked for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from deploykit.serving.protection.guard import bearer
from deploykit.serving.records.entry import ID_HEADER, Entry

if TYPE_CHECKING:
    from deploykit.serving.meter import Visit
    from deploykit.serving.service import Service
    from deploykit.serving.transport.heads import Head
    from deploykit.serving.wires._contract import Response

_ID = ID_HEADER.encode()


def recorded(
    service: Service, protocol: str, head: Head | None, response: Response, visit: Visit, *, predicts: bool
) -> Response:
    """The response with the request's id; the request is recorded.

    Args:
        service: What answered.
        protocol: Name of the protocol.
        head: The request; None if not even its head could be read.
        response: The answer.
        visit: Times of the request; its id is that of the request.
        predicts: Whether it is a prediction.
    """
    if service.recorder is not None:
        method = path = token = ""
        trace = b""
        if head is not None:
            method, path, trace = head.method, head.path, head.trace
            if service.guard is not None:
                token = service.guard.name_of(bearer(head.headers))
        status, size, ended = str(response.status), len(response.body), time.perf_counter()
        service.recorder.add(
            Entry(visit.id, protocol, method, path, status, size, predicts, token, trace, visit, ended)
        )
    return response._replace(headers=(*response.headers, (_ID, visit.id.encode())))
