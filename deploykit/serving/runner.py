"""Runs batches without letting a slow model hold up the event loop.

A thread costs a request about as much as a small model does, so quick batches run right where they arrive; longer ones
run, one at a time, in a thread of their own, while health checks and other requests are still answered.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from deploykit.serving.dataplane import Batch, DataPlane
from deploykit.serving.faults import OverloadError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Longest time the event loop may be held up by one batch.
INLINE_SECONDS = 0.005
#: Batches that may wait for the thread; more are answered 429.
QUEUE_LIMIT = 512


class Runner:
    """Runs batches of one data plane. Belongs to one event loop."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="deploykit-inference")

    async def run(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """Outputs by name.

        Raises:
            OverloadError: Too many batches wait already.
        """
        # The session belongs to one thread at a time: while the other thread has work, all work goes there.
        if not self._waiting and batch.count * self._plane.example_seconds <= INLINE_SECONDS:
            return self._plane.infer(batch)
        if self._waiting >= QUEUE_LIMIT:
            raise OverloadError(f"{self._waiting} requests wait already; try again later.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._plane.infer, batch)
        finally:
            self._waiting -= 1
