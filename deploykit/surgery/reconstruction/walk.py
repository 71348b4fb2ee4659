"""Running a graph step by step, so that what comes before a step can still be changed.

Only what later steps read is kept. The early layers of a network hold most numbers and the late ones most weights, so a
walk begins with few examples and takes in more as they need less memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Bytes of intermediate tensors a walk may hold.
BUDGET = 100 << 20
#: At most so many examples are used: more do not make the answers better, but take longer.
MOST = 512
#: Examples that are run at once when more of them are taken in.
_CHUNK = 4
#: It is worth taking in more examples when there are so many times as many.
_WORTH = 1.5


@dataclass(frozen=True)
class Examples:
    """Calibration inputs, and how to work through them.

    Attributes:
        feeds: Inputs by name, examples first.
        batch: Examples a batch has when the model fixes that, 0 when it is free.
        seed: Seed of the places at which outputs are compared.
        report: Called with what is done, all there is, and words.
        index: Places of the examples among all calibration examples; None when they are steps of sequences.
    """

    feeds: Mapping[str, NDArray[Any]]
    batch: int = 0
    seed: int = 0
    report: Callable[[float, float, str], None] = lambda _done, _total, _words: None
    index: NDArray[Any] | None = None

    @property
    def count(self) -> int:
        """How many examples there are."""
        return min(len(values) for values in self.feeds.values())

    def part(self, index: slice) -> dict[str, NDArray[Any]]:
        """Some of the examples."""
        return {name: values[index] for name, values in self.feeds.items()}


class Steps(ABC):
    """A graph on its way from inputs to outputs.

    Args:
        nodes: Its steps in the order in which they run, each with the names of what it reads (``input``) and writes
            (``output``).
        outputs: Names of the graph's outputs.
        examples: What is fed.
        budget: Bytes of tensors it may hold.

    Attributes:
        values: The tensors that later nodes read, by name.
        count: Examples fed so far.
    """

    def __init__(
        self, nodes: Sequence[Any], outputs: Sequence[str], examples: Examples, *, budget: int = BUDGET
    ) -> None:
        self._nodes = list(nodes)
        self._outputs = list(outputs)
        self._feeds = dict(examples.feeds)
        self._batch = examples.batch
        self._report = examples.report
        self._total = examples.count
        self.values: dict[str, NDArray[Any]] = {}
        self._allowed = self._plan(budget)
        self._done = 0
        self.begin(self._allowed[0] if self._allowed else self._total)

    def begin(self, count: int) -> None:
        """Begin with so many examples, for example because a walk beside this one has no room for more."""
        self.count = count
        self.values = {name: values[:count] for name, values in self._feeds.items()}

    def _plan(self, budget: int) -> list[int]:
        """How many examples there is room for from each node on; a multiple of the batch."""
        unit = self._batch or 1
        one = {name: values[:unit] for name, values in self._feeds.items()}
        sizes = {name: value.nbytes for name, value in (one | self._run(self._nodes, one, None, unit)).items()}
        held, peaks = {name: sizes[name] for name in one}, list[int]()
        for number, node in enumerate(self._nodes):
            held |= {name: sizes.get(name, 0) for name in node.output if name}
            peaks.append(sum(held.values()))
            held = {name: size for name, size in held.items() if self._last.get(name, -1) > number}
        allowed, most = list[int](), 1
        for peak in reversed(peaks):
            most = max(most, peak)
            allowed.append(min(self._total // unit, max(1, budget // most)) * unit)
        return allowed[::-1]

    @cached_property
    def _last(self) -> dict[str, int]:
        """The last node that reads each tensor; outputs are read behind all of them."""
        last = {name: number for number, node in enumerate(self._nodes) for name in self._needs(node)}
        return last | dict.fromkeys(self._outputs, len(self._nodes))

    @property
    def wanted(self) -> int:
        """How many examples to have from here on."""
        now = self._allowed[self._done]
        return now if now >= _WORTH * self.count or now == self._total else self.count

    def take_in(self, count: int) -> None:
        """Bring more examples to where the walk is."""
        import numpy as np

        grown: dict[str, NDArray[Any]] = {}
        step = max(self._batch, _CHUNK // (self._batch or 1) * (self._batch or 1))
        for start in range(self.count, count, step):
            size = min(step, count - start)
            chunk = {name: values[start : start + size] for name, values in self._feeds.items()}
            made = self._run(self._nodes[: self._done], chunk, set(self.values) - set(chunk), size)
            for name, part in made.items():
                value = self.values[name]
                if start == self.count and part.ndim and len(part) == size and len(value) == self.count:
                    # In place of what it grows from: both and all parts at once would take twice the memory.
                    self.values[name] = grown[name] = np.empty((count, *value.shape[1:]), value.dtype)
                    grown[name][:start] = value
                if name in grown:
                    grown[name][start : start + size] = part
        self.values |= {name: self._feeds[name][:count] for name in self.values if name in self._feeds}
        self.count = count

    def visit(self, words: str) -> Iterator[tuple[int, Any]]:
        """Every node with its place, after it has run and before what it reads is dropped.

        Args:
            words: What is done, for the progress.
        """
        for number, node in enumerate(self._nodes):
            if (wanted := self.wanted) > self.count:
                self.take_in(wanted)
            self.step()
            yield number, node
            self.forget()
            self._report(number + 1, len(self._nodes), words)

    def step(self) -> None:
        """Run the next node."""
        node = self._nodes[self._done]
        inputs = {name: self.values[name] for name in self._read([node]) if name in self.values}
        self.values |= self._run([node], inputs, set(node.output), self.count)

    def forget(self) -> None:
        """Go on to the node behind, and drop what no node reads any more."""
        self._done += 1
        for name in [n for n in self.values if self._last.get(n, -1) < self._done]:
            del self.values[name]

    def _needs(self, node: Any) -> list[str]:
        """Names that must be there for a node."""
        return list(node.input)

    def _read(self, nodes: list[Any]) -> list[str]:
        """Names that nodes read."""
        return list(dict.fromkeys(name for node in nodes for name in node.input if name))

    @abstractmethod
    def _run(
        self, nodes: list[Any], feeds: Mapping[str, NDArray[Any]], wanted: Collection[str] | None, count: int
    ) -> dict[str, NDArray[Any]]:
        """What some nodes compute, all of it when nothing is wanted in particular."""


def begin_together(first: Steps, second: Steps) -> None:
    """Let two walks begin with as many examples as both have room for."""
    count = min(first.count, second.count)
    first.begin(count)
    second.begin(count)


def take_in_together(first: Steps, second: Steps) -> None:
    """Bring more examples to where two walks are, when both have room for them."""
    wanted = min(first.wanted, second.wanted)
    if wanted > first.count:
        first.take_in(wanted)
        second.take_in(wanted)
