"""What clients may have done to a server, the same for all protocols: load, unload, other models, other shares."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from deploykit.core.errors import DeploykitError
from deploykit.serving.faults import Fault, InvalidInputError
from deploykit.serving.meter import VISIT
from deploykit.serving.protection.guard import CALLER, ForbiddenError
from deploykit.serving.records.recorder import Act

if TYPE_CHECKING:
    from deploykit.serving.service import Service


async def control(service: Service, what: str, arguments: Mapping[str, Any]) -> Any:
    """Have the server do something to all of its workers, this one included, and wait until it is done.

    Args:
        service: The worker's service.
        what: ``"load"`` or ``"unload"`` (``name``), ``"split"`` (``name``, ``split``), or ``"reload"`` (``config``).
        arguments: With what.

    Raises:
        ForbiddenError: This server takes no orders.
        InvalidInputError: It could not be done; says why.
    """
    if service.control is None:
        raise ForbiddenError(
            "This server takes no orders from clients: anyone could give them, as it has no tokens and listens on more "
            "than loopback. Start it with tokens."
        )
    try:
        # Who gives up waiting does not stop what has begun.
        found = await asyncio.shield(asyncio.ensure_future(service.control(what, arguments)))
        _record(service, what, arguments, "")
        return found
    except Fault:
        raise
    except DeploykitError as error:
        _record(service, what, arguments, str(error))
        raise InvalidInputError(str(error)) from error


def _record(service: Service, what: str, arguments: Mapping[str, Any], problem: str) -> None:
    """Record who had the server do what, for its audit log."""
    if service.recorder is None:
        return
    caller, visit = CALLER.get(), VISIT.get()
    service.recorder.add(
        Act(
            at=round(time.time(), 3),
            action=what,
            token="" if caller is None else caller.token.name,
            request_id="" if visit is None else visit.id,
            **{key: value for key, value in arguments.items() if key != "config"},
            **({"problem": problem} if problem else {}),
        )
    )


def check_origin(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Refuse orders that a page of another server has a browser send.

    Raises:
        ForbiddenError: The request comes from such a page.
    """
    found = dict(headers)
    origin = found.get(b"origin")
    if origin is None:
        return
    host = urlsplit(origin.decode("latin-1")).netloc
    if not host or host.lower() != found.get(b"host", b"").decode("latin-1").lower():
        raise ForbiddenError("This server takes no orders from pages of other servers.")
