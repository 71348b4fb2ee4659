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
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from deploykit.serving.batches import Batch, join, split
from deploykit.serving.dataplane import INLINE_SECONDS, DataPlane
from deploykit.serving.faults import OverloadError
from deploykit.serving.guard import CALLER
from deploykit.serving.meter import VISIT

if TYPE_CHECKING:
    from deploykit.serving.batches import Outputs
    from deploykit.serving.meter import Meter

    #: Outputs, and when their batch began to run and ended.
    Ran = tuple[Outputs, float, float]
    #: A batch and its answer, which is None when the batch must run alone.
    Arrived = tuple[Batch, asyncio.Future[Ran | None]]


class Runner:
    """Runs batches of one data plane. Belongs to one event loop.

    Args:
        plane: The data plane.
        waiting: Batches that may wait for the thread; more are refused.
        version: The plane's version, for the meter.
        meter: Counts batches; None: nothing is counted.
    """

    def __init__(self, plane: DataPlane, waiting: int, version: str = "1", meter: Meter | None = None) -> None:
        self._plane = plane
        self._version = version
        self._meter = meter
        self._waiting = waiting
        self._in_thread = 0
        self._arrived: dict[tuple[object, ...], deque[Arrived]] = {}
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
        """
        caller = CALLER.get()
        if caller is None and copied is None:
            return await self._run(batch)
        with nullcontext() if caller is None else caller.admitted(batch.count):
            outputs = await self._run(batch)
            if copied is not None:
                copied(batch, outputs)
            return outputs if caller is None else caller.shown(outputs, self._plane)

    def later(self, work: Callable[[], None]) -> None:
        """Do something with the plane in its thread, when what waits there is done."""
        self._wait(1)
        asyncio.get_running_loop().run_in_executor(self._thread, work).add_done_callback(self._leave_thread)

    async def _run(self, batch: Batch) -> Outputs:
        visit = VISIT.get()
        if visit is not None:
            visit.model, visit.version, visit.examples = self._plane.name, self._version, batch.count
            visit.decoded = time.perf_counter()
        ran = None
        if batch.count < self._plane.most_joined and not self._in_thread:
            ran = await self._run_joined(batch)
        outputs, began, ended = await self._run_alone(batch) if ran is None else ran
        if visit is not None:
            visit.began, visit.ended = began, ended
        return outputs

    def _infer(self, batch: Batch) -> Ran:
        began = time.perf_counter()
        outputs = self._plane.infer(batch)
        ended = time.perf_counter()
        if self._meter is not None:
            self._meter.ran(self._plane.name, self._version, batch.count)
        return outputs, began, ended

    async def _run_alone(self, batch: Batch) -> Ran:
        # The session belongs to one thread at a time: while the other thread has work, all work goes there.
        if not self._in_thread and batch.count * self._plane.example_seconds <= INLINE_SECONDS:
            return self._infer(batch)
        if self._in_thread >= self._waiting:
            raise OverloadError(f"{self._in_thread} requests are already waiting; try again later.")
        self._wait(1)
        work = asyncio.get_running_loop().run_in_executor(self._thread, self._infer, batch)
        work.add_done_callback(self._leave_thread)
        return await asyncio.shield(work)  # who stops waiting does not stop the thread: the session is still in use

    def _leave_thread(self, _: asyncio.Future[Any]) -> None:
        self._wait(-1)

    def _wait(self, more: int) -> None:
        self._in_thread += more
        if self._meter is not None:
            self._meter.waiting(self._plane.name, self._version, self._in_thread)

    async def _run_joined(self, batch: Batch) -> Ran | None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Ran | None] = loop.create_future()
        if not self._arrived:
            loop.call_soon(self._run_arrived)
        self._arrived.setdefault(batch.kind, deque()).append((batch, future))
        return await future

    def _run_arrived(self) -> None:
        """Run one batch; the next one has its turn when this one's answers are on their way."""
        group = self._take_arrived()
        batches = [batch for batch, _ in group]
        answers: list[Ran] | list[None] = [None] * len(group)
        if len(group) > 1 and not self._in_thread:
            with contextlib.suppress(Exception):  # one request's fault is not the others': each runs alone
                outputs, began, ended = self._infer(join(batches))
                answers = [(part, began, ended) for part in split(outputs, batches)]
        for (_, future), answer in zip(group, answers, strict=True):
            future.set_result(answer)
        if self._arrived:
            asyncio.get_running_loop().call_soon(self._run_arrived)

    def _take_arrived(self) -> list[Arrived]:
        """As many of the kind that waits longest as may run together; the rest of them go behind the other kinds."""
        kind = next(iter(self._arrived))
        queue = self._arrived.pop(kind)
        group: list[Arrived] = []
        left = self._plane.most_joined
        while queue and queue[0][0].count <= left:
            batch, future = queue.popleft()
            if not future.done():  # the client stopped waiting
                group.append((batch, future))
                left -= batch.count
        if queue:
            self._arrived[kind] = queue
        return group
