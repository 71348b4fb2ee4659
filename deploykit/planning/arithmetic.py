"""How long work should take by what a model computes: for estimates where nothing like it was done here before.

Rates and overheads were measured with an image classifier of 7 million multiplications, one of 390 million, and a
classifier of bytes of 330 million. They need to be right within a factor of two only, and what a machine has really
taken for other models corrects them: durations of other models are scaled by the ratio of two predictions.
"""

from __future__ import annotations

import math
from functools import cache

from deploykit.core.model import Layer, Model
from deploykit.measuring.environment import cpu_features
from deploykit.sandbox.groups._contract import costs_of

#: Multiplications a second of one core, by the widest vectors it has.
_RATES = (("avx512f", 80e9), ("avx2", 35e9), ("asimd", 20e9))
_SLOWEST = 8e9
#: Timed runs of one session in one launch, see `deploykit.measuring.sessions.timing_work`; and what warms up before.
_RUNS, _RUNS_S, _RUNS_CAP_S = 100, 0.1, 2.5
_WARM_RUNS, _WARM_CAP_S = 30, 2.0
#: What the driver's calls of a session in one launch take, one for each block.
_CALLS_S = 0.04
#: Examples that are run again to find out whether answers depend on the batch.
_AGAIN = 16


def work(model: Model) -> int:
    """Multiplications for one example: each weight counts once for every place it is used at.

    Products of two activations (attention) are left out, and so is what depends on dimensions that are free.
    """
    return sum(layer.parameters * _places(layer) for layer in model.layers if layer.parameters)


def latency_s(group: str, layers: int, multiplications: int) -> float:
    """Seconds of one inference of one example on one core.

    Args:
        group: Import group of the runtime.
        layers: How many layers there are.
        multiplications: See `work`.
    """
    first, each = costs_of(group).call_s
    return first + each * layers + multiplications / _rate()


def runs(latency: float) -> int:
    """Timed runs of one session in one launch."""
    return max(1, int(min(max(_RUNS, _RUNS_S / latency), _RUNS_CAP_S / latency)))


def seconds(kind: str, group: str, layers: int, multiplications: int, examples: int) -> float | None:
    """Predicted duration of a unit of work; None for kinds that do not depend on the model.

    Args:
        kind: See `deploykit.planning.history.Kind`.
        group: Import group of its child.
        layers: How many layers the model has.
        multiplications: See `work`.
        examples: Examples it works through; of a session, its batch.
    """
    costs = costs_of(group)
    opening = costs.open_s[0] + costs.open_s[1] * layers
    one = latency_s(group, layers, multiplications)
    if kind == "evaluation":
        return opening + 1.4 * one * (examples + _AGAIN)
    if kind == "session":
        one *= max(1, examples)  # a batch
        return _CALLS_S + opening + runs(one) * one + min(_WARM_CAP_S, _WARM_RUNS * one)
    if kind == "profile":
        return 0.1 + 2 * (opening + _WARM_RUNS * one)
    if kind == "step":
        times, besides = costs.calibrate
        return costs.build_s[0] + costs.build_s[1] * layers + examples * (times * multiplications / _rate() + besides)
    return None


def _places(layer: Layer) -> int:
    """At how many places of one example a layer's weights are used: all of its output but the channels."""
    sizes = [d for d in (layer.shape or ())[1:] if d]
    if len(sizes) < 2:
        return 1
    # Channels come first or last: the output has as many of them as divide the number of weights.
    ends = [size for size in (sizes[-1], sizes[0]) if size > 1 and layer.parameters % size == 0]
    channels = ends[0] if ends else sizes[-1]
    return max(1, math.prod(sizes) // channels)


@cache
def _rate() -> float:
    features = set(cpu_features())
    return next((rate for feature, rate in _RATES if feature in features), _SLOWEST)
