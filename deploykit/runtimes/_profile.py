"""What runtimes tell of the time single nodes take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deploykit.core.layers.kinds import Work
from deploykit.core.serial import Plain

#: Why a kernel may be slow whatever the layer: no vector instructions (``reference``), or no fast kernel on some
#: processors for signed activations (``signed``) or for those that are quantized on the fly (``dynamic``).
Trait = Literal["", "reference", "signed", "dynamic"]


@dataclass(frozen=True)
class NodeTime(Plain):
    """One node of a graph as the runtime executes it.

    Attributes:
        name: Name in the model file of the node it comes from, as far as the runtime tells.
        operator: Type of operator as executed, after fusion.
        kernel: What the runtime tells of the kernel.
        kind: What it spends its time on.
        microseconds: Time in one inference, as the runtime's profiler gives it.
        precision: ``"int8"``, ``"float32"``, …: what it computes in; "" when not known.
        shape: Shape of its first output, () when not known.
        trait: Why the kernel may be slow whatever the layer; "" when nothing is known against it.
    """

    name: str
    operator: str
    kernel: str
    kind: Work
    microseconds: float
    precision: str = ""
    shape: tuple[int, ...] = ()
    trait: Trait = ""


def quick_mean(values: Sequence[float]) -> float:
    """Mean of the quicker half: disturbances only add, and profilers count whole microseconds."""
    kept = sorted(values)[: (len(values) + 1) // 2]
    return sum(kept) / len(kept) if kept else 0.0
