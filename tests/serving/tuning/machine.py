"""A computed machine: what a server would do, by the laws of queues rather than by timing one."""

import random

from deploykit.serving.tuning.grid import TuningGrid
from deploykit.serving.tuning.search import Seen


class Machine:
    """A machine with models, drawn at random.

    A batch of k examples takes a fixed time and one for each example, of which threads share a part (Amdahl) and to
    which they add. Requests also take some time that no thread shares. Who runs more than there are cores waits; those
    who send take some of the cores. With c connections, Little's law gives the mean latency, c / rate; p99 is some
    multiple of it.
    """

    def __init__(self, seed):
        draw = random.Random(seed)
        self.cores = draw.choice([2, 2, 4, 8, 16])
        sources = [f"runtime {i}" for i in range(draw.choice([1, 1, 2, 3]))]
        self.grid = TuningGrid.of(sources, [1, 8, 32], self.cores)
        self._models = {}
        for source in sources:
            example = 10 ** draw.uniform(-5, -2)
            self._models[source] = {
                "fixed": example * draw.uniform(0, 0.8),
                "each": example * draw.uniform(0.2, 1),
                "shared": draw.choice([0, 0.3, 0.6, 0.9, 0.97]),
                "joining": draw.uniform(0, 1e-4),
                "bend": draw.choice([0, 0, 0.01, 0.05]),
            }
        self._around = 10 ** draw.uniform(-5, -3.5)
        self._tail = draw.uniform(1.1, 3)
        self._sending = draw.uniform(0, 1) * (0.5 if self.cores > 2 else 0.3)
        self.limit_ms = 10 ** draw.uniform(-0.3, 2)

    def __call__(self, point):
        """The truth about a point."""
        settings, connections, model = point.settings, point.concurrency, self._models[point.source]
        workers, threads = min(settings.workers, connections), settings.threads
        batch = min(settings.largest_batch, max(1, connections / settings.workers))

        def run(k):
            alone = model["fixed"] + model["each"] * k * (1 + model["bend"] * k)
            return alone * (model["shared"] / threads + 1 - model["shared"]) + model["joining"] * (threads - 1)

        busy = batch * self._around + run(batch)
        wanted = workers * (1 + (threads - 1) * 0.9 * run(batch) / busy)
        slower = max(1, wanted / (self.cores - self._sending))
        rate = min(workers * batch / (busy * slower), connections / (3e-5 + (self._around + run(1)) * slower))
        return Seen(rate, 1000 * self._tail * connections / rate)
