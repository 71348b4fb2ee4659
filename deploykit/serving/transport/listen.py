"""Listening sockets: bound by the parent before anything else, inherited by the workers.

The parent keeps them open, so connections that arrive while a worker is being restarted wait in the backlog instead of
being refused.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import sys

from deploykit.core.errors import PortInUseError, ServeError, SettingError

_BACKLOG = 1024
_SUGGESTIONS = 100
#: With a socket of its own for each worker, Linux spreads connections over them.
_SPREADS = sys.platform == "linux"


def listen(host: str, port: int, workers: int) -> list[socket.socket]:
    """Listening sockets on one address: one for each worker where that spreads the load, else one for all.

    Args:
        host: Address to listen on.
        port: Port; 0 for any free one.
        workers: Number of worker processes.

    Raises:
        PortInUseError: Another program listens there; suggests a free port.
        ServeError: The address cannot be used.
        SettingError: No such port.
    """
    family, address = _resolve(host, port)
    count = workers if _SPREADS else 1
    if count > 1 and port:  # sockets that share a port do not notice a stranger who shares it too
        _bind(family, address, host, shared=False).close()
    found = [_bind(family, address, host, shared=count > 1)]
    try:
        while len(found) < count:
            found.append(_bind(family, found[0].getsockname(), host, shared=True))
    except ServeError:
        for bound in found:
            bound.close()
        raise
    for bound in found:
        bound.listen(_BACKLOG)
    return found


def hold(host: str, port: int) -> list[socket.socket]:
    """One socket that holds a port and does not listen, so that workers can with sockets of their own.

    Where sockets cannot share a port, it listens, and the one worker binds the port again.

    Raises:
        DeploykitError: As `listen`.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        return listen(host, port, 1)
    family, address = _resolve(host, port)
    if port:
        _bind(family, address, host, shared=False).close()
    return [_bind(family, address, host, shared=True)]


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, object]:
    if type(port) is not int or not 0 <= port <= 65535:
        raise SettingError(f"port must be a whole number from 0 to 65535, got {port!r}.", remedy="0 picks a free one.")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ServeError(f"Unknown host {host!r}: {error.strerror}.", remedy="use 127.0.0.1 or 0.0.0.0.") from error
    return family, address


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _bind(family: int, address: object, host: str, *, shared: bool) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # there the option would let two programs share a port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)  # type: ignore[arg-type]  # what getaddrinfo gave
        if not shared:
            bound.listen(_BACKLOG)  # two sockets can be bound to one port, but only one of them can listen
    except OSError as error:
        bound.close()
        port = address[1]  # type: ignore[index]
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(f"Port {port} on {host} is in use.", remedy=_suggest(family, host, port)) from error
        raise ServeError(
            f"Cannot listen on {host}, port {port}: {error.strerror}.", remedy="use another port= (--port) or host=."
        ) from error
    return bound


def _suggest(family: int, host: str, port: int) -> str:
    for other in range(port + 1, min(port + _SUGGESTIONS, 65536)):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, other))
            except OSError:
                continue
            return f"port {other} is free: port={other} (--port {other}); or port=0 for any free one."
    return "use port=0 (--port 0) for any free one."
