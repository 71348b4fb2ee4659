"""What TensorFlow Lite Micro and the Edge TPU's compiler look at in a TFLite file: its operators and tensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploykit.core.serial import Plain, to_plain
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Report, Task

_READ = "deploykit.exporters._edge.graph:read"
#: TensorFlow Lite Micro aligns every buffer in its arena to so many bytes.
_ALIGNMENT = 16
#: Bytes that TensorFlow Lite Micro keeps for each tensor, each operator and altogether, with pointers of 64 bits, which
#: are more than with 32; measured with its recording allocator.
_PER_TENSOR, _PER_OPERATOR, _PER_CHANNEL, _ALTOGETHER = 24, 64 + 96, 8, 1536


@dataclass(frozen=True)
class MicroTensor(Plain):
    """One tensor.

    Attributes:
        name: Text from outside.
        dtype: NumPy name.
        shape: With 1 where a size is free.
        size_bytes: What it takes in memory.
        constant: Whether the file holds its values.
        scales: How many quantization scales it has, 0 for none.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int
    constant: bool
    scales: int


@dataclass(frozen=True)
class MicroOperator(Plain):
    """One operator: its name in the schema and the places of its tensors."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class MicroGraph(Plain):
    """The main graph of a file, in the order in which it runs.

    Attributes:
        tensors: By their places.
        operators: In order.
        inputs: Places of what the file takes.
        outputs: Places of what it gives.
    """

    tensors: dict[int, MicroTensor]
    operators: tuple[MicroOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def names(self) -> list[str]:
        """The operators' names, sorted, each once."""
        return sorted({operator.name for operator in self.operators})

    @property
    def floating(self) -> list[str]:
        """Names of the tensors that hold real numbers, inputs and outputs first; () for a full-integer model."""
        places = dict.fromkeys((*self.inputs, *self.outputs, *self.tensors))
        return [self.tensors[p].name for p in places if self.tensors[p].dtype.startswith("float")]

    @property
    def planned_bytes(self) -> int:
        """Bytes of the arena that tensors take, as TensorFlow Lite Micro's greedy planner lays them out.

        Buffers are placed by falling size, each into the first gap between those that live at the same time. Source:
        ``greedy_memory_planner.cc``.
        """
        wanted = sorted(self._lives(), key=lambda life: -life[0])
        placed: list[tuple[int, int, int, int]] = []  # offset, size, first, last
        for size, first, last in wanted:
            offset = 0
            for other, taken, begun, ended in sorted(placed):
                if begun > last or first > ended:
                    continue
                if other - offset >= size:
                    break
                offset = max(offset, other + taken)
            placed.append((offset, size, first, last))
        return max((offset + size for offset, size, _, _ in placed), default=0)

    @property
    def arena_bytes(self) -> int:
        """An upper estimate of the arena: the plan and what TensorFlow Lite Micro keeps for tensors and operators.

        Kernels with scratch memory of their own (CMSIS-NN, ESP-NN) take more.
        """
        channels = sum(self.tensors[p].scales for o in self.operators for p in o.inputs if p in self.tensors)
        kept = _PER_TENSOR * len(self.tensors) + _PER_OPERATOR * len(self.operators) + _PER_CHANNEL * channels
        return _aligned(self.planned_bytes + kept + _ALTOGETHER)

    def _lives(self) -> list[tuple[int, int, int]]:
        """Size, first and last operator of every buffer in the arena."""
        first = dict.fromkeys(self.inputs, 0)
        last: dict[int, int] = {}
        for number, operator in enumerate(self.operators, 1):
            for place in operator.inputs:
                last[place] = number
            for place in operator.outputs:
                first.setdefault(place, number)
                last[place] = number
        last |= dict.fromkeys(self.outputs, len(self.operators))
        return [
            (_aligned(self.tensors[place].size_bytes), begun, last.get(place, begun))
            for place, begun in first.items()
            if place in self.tensors and not self.tensors[place].constant
        ]


def graph_of(path: Path) -> MicroGraph:
    """The graph of a TFLite file, read in a child process."""
    found = shared().run(Task(_READ, {"path": str(path)}, name=f"reading the tensors of {path.name}"))
    return MicroGraph.from_json(found["graph"])


def read(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: the operators and tensors of a file.

    Args:
        arguments: ``path`` of the file.
        report: Not used.

    Returns:
        ``graph``: a `MicroGraph`.
    """
    import numpy as np

    from deploykit.loading.tflite import opened

    interpreter = opened(Path(arguments["path"]))
    operators = tuple(
        MicroOperator(str(o["op_name"]), tuple(map(int, o["inputs"])), tuple(map(int, o["outputs"])))
        for o in interpreter._get_ops_details()
        if o["op_name"] != "DELEGATE"
    )
    sides = [
        tuple(int(d["index"]) for d in s) for s in (interpreter.get_input_details(), interpreter.get_output_details())
    ]
    made = {place for operator in operators for place in operator.outputs} | set(sides[0])
    tensors = {}
    for details in interpreter.get_tensor_details():
        dtype = np.dtype(details["dtype"])
        shape = tuple(int(d) for d in details["shape"])
        tensors[int(details["index"])] = MicroTensor(
            str(details["name"]), dtype.name, shape, int(np.prod(shape, dtype=np.int64)) * dtype.itemsize,
            int(details["index"]) not in made, len(details["quantization_parameters"]["scales"]),
        )  # fmt: skip
    return {"graph": to_plain(MicroGraph(tensors, operators, *sides))}


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
