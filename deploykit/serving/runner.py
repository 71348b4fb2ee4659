"""Runs batches without letting a slow model hold up the event loop.

A thread costs a request about as much as a small model does, so quick batches run right where they arrive; longer ones
run, one at a time, in a thread of their own, while health checks and other requests are still answered. Requests that
arrive in the same turn of the event loop run as one batch where the data plane allows it; none waits for more.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from deploykit.serving.batches import Batch, join, split
from deploykit.serving.dataplane import INLINE_SECONDS, DataPlane
from deploykit.serving.faults import OverloadError
from deploykit.serving.health.vitals import key_of
from deploykit.serving.meter import VISIT
from deploykit.serving.protection.guard import CALLER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploykit.serving.batches import Outputs
    from deploykit.serving.health.suspects import Wary
    from deploykit.serving.health.vitals import Vitals
    from deploykit.serving.looking.tap import Tap
    from deploykit.serving.meter import Meter
    from deploykit.serving.served import Done

    #: Outputs, and when their batch began to run and ended.
    Ran = tuple[Outputs, float, float]

#: A batch that holds up the event loop for so long, against expectation, sends those that follow to the thread: the
#: time of such a model depends on more than the number of examples.
_SURPRISE_SECONDS = 0.1
#: How many quick batches in the thread restore the trust.
_TRUST_RUNS = 64


class Waiter(Protocol):
    """What waits for the outputs of a batch."""

    @property
    def gone(self) -> bool:
        """Whether it has stopped waiting."""

    def take(self, ran: Ran | None) -> None:
        """Take them; None: the batch must run alone."""


class _Awaited:
    """A coroutine that waits."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: asyncio.Future[Ran | None] = asyncio.get_running_loop().create_future()

    @property
    def gone(self) -> bool:
        return self.future.done()

    def take(self, ran: Ran | None) -> None:
        self.future.set_result(ran)


class Runner:
    """Runs batches of one data plane. Belongs to one event loop.

    Args:
        plane: The data plane.
        waiting: Batches that may wait for the thread; more are refused.
        version: The plane's version, for the meter.
        meter: Counts batches; None: nothing is counted.
        vitals: Where the parent sees what runs; None: nowhere.
        wary: Knows the batches that worker processes died of; None: they are not known.
        tap: Takes batches and answers for the monitor; None: nothing does.

    Attributes:
        tap: Takes batches and answers for the monitor; None: nothing does.
    """

    def __init__(
        self, plane: DataPlane, waiting: int, version: str = "1", meter: Meter | None = None,
        vitals: Vitals | None = None, wary: Wary | None = None, tap: Tap | None = None,
    ) -> None:  # fmt: skip
        self._plane = plane
        self._version = version
        self._meter = meter
        self._waiting = waiting
        self._vitals = vitals
        self._wary = wary
        self.tap = tap
        self._key = b"" if vitals is None and wary is None else key_of(plane.name, version)
        self._in_thread = 0
        #: Batches that still have to be quick in the thread before the event loop runs them again.
        self._distrust = 0
        self._arrived: dict[tuple[object, ...], deque[tuple[Batch, Waiter]]] = {}
        #: The kind that came last, and its queue: most batches are of one kind. None: none waits that can be joined.
        self._kind: tuple[object, ...] | None = None
        self._queue: deque[tuple[Batch, Waiter]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="deploykit-inference")

    @property
    def waiting(self) -> int:
        """Batches that wait for the thread, or run in it."""
        return self._in_thread

    async def run(self, batch: Batch, copied: Callable[[Batch, Outputs], None] | None = None) -> Outputs:
        """Outputs by name.

        Args:
            batch: The examples.
            copied: Called with them and the whole outputs.

        Raises:
            InvalidInputError: The examples cannot be preprocessed, or the model cannot hold their values.
            OverloadError: Too many batches wait already, or the caller may not have more.
            ForbiddenError: The caller may not see such outputs.
            PoisonError: Worker processes have died of this batch.
        """
        caller = CALLER.get()
        if caller is None and copied is None:
            return await self._run(batch)
        if caller is not None and self.tap is not None:
            batch = replace(batch, token=caller.token.name)
        with nullcontext() if caller is None else caller.admitted(batch.count):
            outputs = await self._run(batch)
            if copied is not None:
                copied(batch, outputs)
            return outputs if caller is None else caller.shown(outputs, self._plane)

    def later(self, work: Callable[[], None], batch: Batch) -> None:
        """Run a batch for its effects alone, in the thread, when what waits there is done.

        Args:
            work: Has the plane infer it.
            batch: The batch.

        Raises:
            PoisonError: Worker processes have died of this batch.
        """
        if self._wary is not None:
            self._wary.suspects(self._key, batch)

        def watched() -> None:
            with self._watched(batch):
                work()

        self._wait(1)
        asyncio.get_running_loop().run_in_executor(self._thread, watched).add_done_callback(lambda _: self._wait(-1))

    async def apart(self, batch: Batch, work: Callable[[DataPlane, Batch], Done]) -> Done:
        """Find out something else of a batch, in the thread, when what waits there is done.

        Args:
            batch: The batch.
            work: Finds it out; may have the plane infer.

        Raises:
            OverloadError: Too many batches wait already.
            PoisonError: Worker processes have died of this batch.
        """
        if self._wary is not None:
            self._wary.suspects(self._key, batch)
        if self._in_thread >= self._waiting:
            raise OverloadError(f"{self._in_thread} requests are already waiting; try again later.")

        def watched() -> Done:
            with self._watched(batch):
                return work(self._plane, batch)

        self._wait(1)
        found = asyncio.get_running_loop().run_in_executor(self._thread, watched)
        found.add_done_callback(lambda _: self._wait(-1))
        return await asyncio.shield(found)

    def _watched(self, batch: Batch) -> AbstractContextManager[None]:
        return nullcontext() if self._vitals is None else self._vitals.in_thread(self._key, batch)

    async def _run(self, batch: Batch) -> Outputs:
        visit = VISIT.get()
        if visit is not None:
            visit.model, visit.version, visit.examples = self._plane.name, self._version, batch.count
            visit.decoded = time.perf_counter()
        ran = None
        suspect = self._wary is not None and self._wary.suspects(self._key, batch)
        waiter = _Awaited()
        if not suspect and self._join(batch, waiter):
            ran = await waiter.future
        outputs, began, ended = await self._run_alone(batch, suspect=suspect) if ran is None else ran
        if visit is not None:
            visit.began, visit.ended = began, ended
            if self.tap is not None and visit.id:
                self.tap.answered(visit.id, outputs)
        return outputs

    def _infer(self, batch: Batch, parts: Sequence[Batch] = ()) -> Ran:
        began = time.perf_counter()
        outputs = self._plane.infer(batch)
        ended = time.perf_counter()
        if self._meter is not None:
            self._meter.ran(self._plane.name, self._version, batch.count)
        if self.tap is not None:
            self.tap.saw(batch, outputs, self._plane.embedding, parts or (batch,))
        return outputs, began, ended

    def _infer_here(self, batch: Batch, parts: Sequence[Batch] = ()) -> Ran:
        """Run a batch, that of several requests or of one, on the event loop."""
        if self._vitals is None:
            return self._infer(batch, parts)
        self._vitals.begin(self._key, batch, parts, private=self._plane.private)
        try:
            ran = self._infer(batch, parts)
        finally:
            self._vitals.end()
        if ran[2] - ran[1] > _SURPRISE_SECONDS:
            self._distrust = _TRUST_RUNS
        return ran

    def _infer_in_thread(self, batch: Batch, answer: asyncio.Future[Ran]) -> Ran | None:
        if answer.done():  # its client is gone, or its time is over
            return None
        with self._watched(batch):
            return self._infer(batch)

    async def _run_alone(self, batch: Batch, *, suspect: bool) -> Ran:
        # The session belongs to one thread at a time: while the other thread has work, all work goes there.
        quick = not (suspect or self._distrust or self._in_thread)
        if quick and batch.count * self._plane.example_seconds <= INLINE_SECONDS:
            return self._infer_here(batch)
        if self._in_thread >= self._waiting:
            raise OverloadError(f"{self._in_thread} requests are already waiting; try again later.")
        self._wait(1)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Ran] = loop.create_future()
        work = loop.run_in_executor(self._thread, self._infer_in_thread, batch, answer)
        work.add_done_callback(partial(self._leave_thread, answer))
        return await answer  # who stops waiting does not stop the thread: the session is still in use

    def _leave_thread(self, answer: asyncio.Future[Ran], work: asyncio.Future[Ran | None]) -> None:
        self._wait(-1)
        if work.cancelled():
            answer.cancel()
            return
        error, ran = work.exception(), None
        if error is None and (ran := work.result()) is not None and ran[2] - ran[1] <= INLINE_SECONDS:
            self._distrust = max(0, self._distrust - 1)
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        elif ran is not None:
            answer.set_result(ran)

    def _wait(self, more: int) -> None:
        self._in_thread += more
        if self._meter is not None:
            self._meter.waiting(self._plane.name, self._version, self._in_thread)

    def soon(self, batch: Batch, waiter: Waiter) -> bool:
        """Run a batch with others that arrive in the same turn of the event loop.

        Returns:
            Whether it will; if not, `run` is the way.

        Raises:
            PoisonError: Worker processes have died of this batch.
        """
        suspect = self._wary is not None and self._wary.suspects(self._key, batch)
        return not suspect and self._join(batch, waiter)

    def _join(self, batch: Batch, waiter: Waiter) -> bool:
        if self._distrust or self._in_thread or batch.count >= self._plane.most_joined:
            return False
        if not self._arrived:
            asyncio.get_running_loop().call_soon(self._run_arrived)
        if batch.kind is not self._kind:
            self._kind, self._queue = batch.kind, self._arrived.setdefault(batch.kind, deque())
        self._queue.append((batch, waiter))
        return True

    def _run_arrived(self) -> None:
        """Run one batch; the next one has its turn when this one's answers are on their way."""
        group = self._take_arrived()
        batches = [batch for batch, _ in group]
        answers: list[Ran] | list[None] = [None] * len(group)
        if group and not self._in_thread:
            with contextlib.suppress(Exception):  # one request's fault is not the others': each runs alone
                if len(group) == 1:
                    answers = [self._infer_here(batches[0])]
                else:
                    outputs, began, ended = self._infer_here(join(batches), batches)
                    answers = [(part, began, ended) for part in split(outputs, batches)]
        for (_, waiter), answer in zip(group, answers, strict=True):
            waiter.take(answer)
        if self._arrived:
            asyncio.get_running_loop().call_soon(self._run_arrived)

    def _take_arrived(self) -> list[tuple[Batch, Waiter]]:
        """As many of the kind that waits longest as may run together; the rest of them go behind the other kinds."""
        kind = next(iter(self._arrived))
        queue = self._arrived.pop(kind)
        self._kind = None
        left = self._plane.most_joined
        if sum([batch.count for batch, _ in queue]) <= left:
            return [one for one in queue if not one[1].gone]
        group: list[tuple[Batch, Waiter]] = []
        while queue and queue[0][0].count <= left:
            batch, waiter = queue.popleft()
            if not waiter.gone:
                group.append((batch, waiter))
                left -= batch.count
        if queue:
            self._arrived[kind] = queue
        return group
