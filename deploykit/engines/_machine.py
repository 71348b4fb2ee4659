"""The driver's view of one machine at the other end of a connection, which is made again when it breaks."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

from deploykit.core.errors import Cancelled, DeploykitError, EngineError
from deploykit.engines import _fleet
from deploykit.engines import _worker as remote
from deploykit.engines._contract import OnReport
from deploykit.engines._fleet import HELLO_S, Fleet, Member, WorkerLost
from deploykit.engines._link import Link, Unreachable
from deploykit.engines._openssh import CONNECT_S, Place, check_found, explain, pip

#: How long a slow board may take to log a user in and start Python, besides the connection.
_START_S = 50.0
_LOOK_S = 1.0
_PING_S = 5.0
_DEVICES_S = 120.0
_SILENCE_S = 20.0
_POLL_S = 0.2


def look(place: Place) -> dict[str, Any]:
    """What is there, see `deploykit.engines._bootstrap`; no worker begins, and nothing is written.

    Raises:
        EngineError: It cannot be reached, or lacks what is needed; says what, and which command helps.
    """
    try:
        link = _linked(place, serving=False)
    except Unreachable as failure:
        raise explain(place, failure)[0] from None
    link.close()
    check_found(place, link.found)
    return link.found


def _linked(place: Place, *, serving: bool = True) -> Link:
    """A connection.

    Raises:
        Unreachable: There is no Python at the other end, or no way to it.
        EngineError: There is no OpenSSH here.
    """
    try:
        return Link(place.command(), CONNECT_S + _START_S, serving=serving)
    except OSError as error:
        raise EngineError(
            f"OpenSSH's client could not be started: {error}.", remedy="install it: the package openssh-client."
        ) from error


class OneMachine(Fleet):
    """A machine that is reached by ``ssh``. Thread-safe.

    Args:
        place: Where it is.

    Raises:
        EngineError: It cannot be reached, or lacks what is needed; says what, and which command helps.
    """

    chunk_bytes = 1 << 20  # on a slow line no piece must take as long as a silence

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._place = place
        self._why = ""
        self._absent: dict[str, list[str]] = {}
        self._stop = threading.Event()
        self._link, hello = self._connect()
        self.member = Member(
            place.url, int(hello["slots"]), frozenset({"cpu"}), hello["host"], hello["machine"],
            hello["shelf"], hello["facts"],
        )  # fmt: skip
        self.members[self.member.address] = self.member
        self._watcher = threading.Thread(target=self._watch, name="deploykit-machine", daemon=True)
        self._watcher.start()

    # -- the connection ---------------------------------------------------------------------------------------------

    def _connect(self) -> tuple[Link, dict[str, Any]]:
        """A connection, and what the worker there says of its machine.

        Raises:
            Unreachable: No worker began, which may be different at the next attempt.
            EngineError: None will.
        """
        try:
            link = _linked(self._place)
        except Unreachable as failure:
            error, passing = explain(self._place, failure)
            if passing and hasattr(self, "member"):
                self._why = error.message
                raise
            raise error from None
        try:
            check_found(self._place, link.found)
            self._python = link.found["executable"]
            found: dict[str, Any] = link.ask("hello")[1].result(HELLO_S)
            theirs = link.ask("versions", [tool.to_json() for tool in self._tools])[1].result(HELLO_S)
            if other := self._differs(found, theirs):
                raise EngineError(f"The machine {self._place} has {other}.", remedy=self.to_install([]))
        except BaseException as error:
            link.close()
            if isinstance(error, EOFError | TimeoutError):
                raise Unreachable(None, link.said) from None
            raise
        return link, found

    def to_install(self, wrong: Collection[str]) -> str:
        """The command that installs there what is missing."""
        if not wrong:
            return "install the same versions there as here, and rerun the sweep."
        return pip(self._place, self._python, wrong)

    def look_for(self, devices: Collection[str], runtimes: Collection[str]) -> None:
        """Find out which devices besides the CPU the runtimes can use there, if they are not known to be there.

        Raises:
            WorkerLost: It does not answer.
        """
        if set(devices) <= self.member.devices or not runtimes:
            return
        found = self.call(self.member, remote.devices, sorted(runtimes), timeout_s=_DEVICES_S)
        known = [(name, device) for name, several in found.items() for device in several]
        self.member.devices |= {device["name"] for _, device in known if device["available"]}
        for name, device in known:
            if not device["available"]:
                said = "; ".join(filter(None, (device["detail"].rstrip("."), device["remedy"].rstrip("."))))
                self._absent.setdefault(device["name"], []).append(f"{name} says: {said}")

    def to_offer(self, device: str) -> str:
        """What to do where the machine lacks a device, in the words of the runtimes there."""
        said = "; ".join(self._absent.get(device, ()))
        return f"leave the device {device} out of the space{f', or make it ready there ({said})' if said else ''}."

    def close(self) -> None:
        """End the worker there, and whatever it runs."""
        self._stop.set()
        self._link.close()
        self._watcher.join()

    def check(self) -> None:
        """Raise when the machine can no longer be used."""
        if self.failed:
            message, _, remedy = self.failed.partition("\n")
            raise EngineError(message, remedy=remedy)

    def _impatient(self, devices: Collection[str]) -> EngineError:
        del devices
        return EngineError(
            f"The connection to the machine {self._place} was lost and could not be made again within "
            f"{_fleet.PATIENCE_S:.0f} s: {self._why or self.member.lost}",
            remedy="rerun the sweep when the machine is there again: finished work is kept.",
        )

    def _watch(self) -> None:
        """Ping, and make the connection again when it is lost. A ping may get stuck, so that it has its own thread."""
        pinging: threading.Thread | None = None
        pinged = time.monotonic()
        while not self._stop.wait(_LOOK_S):
            link = self._link
            if link.ended:
                self._gone(link)
                self._reconnect()
            elif time.monotonic() - link.heard > _SILENCE_S:
                with self._change:
                    self.member.lost = f"it has not answered for {_SILENCE_S:.0f} s"
                link.kill()
            elif time.monotonic() - pinged > _PING_S and not (pinging and pinging.is_alive()):
                pinged = time.monotonic()
                pinging = threading.Thread(target=link.ask, args=("ping",), name="deploykit-ping", daemon=True)
                pinging.start()

    def _reconnect(self) -> None:
        try:
            link, hello = self._connect()
        except Unreachable:
            return  # the next look tries again; tasks that wait give up after a while
        except EngineError as error:
            self._fail(error)
            return
        if hello["facts"] != self.member.facts:
            link.close()
            self._fail(self._other(hello["facts"]))
            return
        if self._stop.is_set():
            link.close()
            return
        self._link.close()
        with self._change:
            self._link, self.member.lost = link, ""
            self._change.notify_all()

    def _other(self, facts: dict[str, Any]) -> EngineError:
        names = [k for k in sorted({*facts, *self.member.facts}) if facts.get(k) != self.member.facts.get(k)]
        said = "; ".join(f"{k} {self.member.facts.get(k)!r} before, {facts.get(k)!r} now" for k in names)
        return EngineError(
            f"Another machine answers at {self._place} than the one the sweep began on: {said}. Latencies of both are "
            "not comparable.",
            remedy="rerun the sweep: it measures everything on the machine that is there then.",
        )

    def _gone(self, link: Link) -> str:
        """Note that a connection was lost, unless there is another one already; why."""
        why = f"the connection to it was lost ({_last(link.said)})"
        with self._change:
            if link is self._link:
                self.member.lost = self.member.lost or why
                self._change.notify_all()
            return self.member.lost or why

    def _fail(self, error: EngineError) -> None:
        with self._change:
            self.failed = f"{error.message}\n{error.remedy}"
            self._change.notify_all()

    # -- calls ------------------------------------------------------------------------------------------------------

    def call(self, member: Member, function: Callable[..., Any], *arguments: Any, timeout_s: float = 60.0) -> Any:
        """Call a function of `deploykit.engines._worker` there."""
        link = self._link
        try:
            return link.ask(function.__name__, *arguments)[1].result(timeout_s)
        except EOFError:
            raise WorkerLost(self._gone(link)) from None
        except TimeoutError:
            raise WorkerLost(member.lost or "it does not answer (TimeoutError)") from None
        except RuntimeError as error:
            raise EngineError(f"The machine {self._place} failed: {error}.", remedy="rerun the sweep.") from error

    def tell(self, members: Collection[Member], function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function there, and do not wait long."""
        for member in members:
            with contextlib.suppress(WorkerLost, DeploykitError):
                self.call(member, function, *arguments, timeout_s=2.0)

    @contextlib.contextmanager
    def execute(
        self, member: Member, unit: remote.Unit, cancel: threading.Event, on_report: OnReport | None
    ) -> Iterator[dict[str, Any]]:
        """What `deploykit.engines._worker.run_unit` answers there."""
        link = self._link
        name, future = link.ask("run_unit", unit.to_json(), on_report=on_report)
        while not future.done():
            concurrent.futures.wait([future], _POLL_S)
            if cancel.is_set():
                link.cancel(name)
                raise Cancelled(f"Cancelled during {unit.task.name or unit.task.function}.")
        try:
            answer: dict[str, Any] = future.result()
        except EOFError:
            raise WorkerLost(self._gone(link)) from None
        except RuntimeError as error:
            raise EngineError(
                f"The machine {self._place} failed in {unit.task.name}: {error}.", remedy="rerun the sweep."
            ) from error
        yield answer


def _last(said: str) -> str:
    return next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "no reason given")
