"""What can be tuned: all combinations of settings, each at several numbers of connections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from deploykit.core.errors import SettingError
from deploykit.core.parameter import Parameter
from deploykit.core.serial import Plain
from deploykit.core.settings.ranged import parameters_of
from deploykit.core.settings.serving import ServingSettings

#: Most connections at once: what a server takes by default.
MOST_CONNECTIONS = 1024
#: Largest batches that are tried are powers of two up to this one.
_MOST_JOINED = 32


@dataclass(frozen=True)
class TuningPoint(Plain):
    """One combination of settings under one load.

    Attributes:
        source: What is served: the name of a runtime.
        settings: How.
        concurrency: Connections, each with one request at a time.
    """

    source: str
    settings: ServingSettings
    concurrency: int


@dataclass(frozen=True)
class TuningGrid(Plain):
    """All points that could be measured. Values of each axis are in ascending order, but for sources.

    Attributes:
        sources: What can be served; the first is where the search starts.
        workers: Numbers of processes.
        threads: Numbers of threads of an inference.
        largest_batch: Largest batches.
        readers: Numbers of threads that read long requests.
        concurrency: Numbers of connections.
    """

    sources: tuple[str, ...]
    workers: tuple[int, ...]
    threads: tuple[int, ...]
    largest_batch: tuple[int, ...]
    readers: tuple[int, ...]
    concurrency: tuple[int, ...]

    @classmethod
    def of(
        cls,
        sources: Sequence[str],
        concurrency: Sequence[int],
        cores: int,
        *,
        joins: bool = True,
        long_requests: bool = False,
        **axes: Sequence[int] | None,
    ) -> TuningGrid:
        """The grid for a machine.

        Args:
            sources: What can be served.
            concurrency: Numbers of connections.
            cores: Cores that may be used: workers, threads and readers are powers of two up to them.
            joins: Whether requests can run as one batch.
            long_requests: Whether requests are long enough to be read by readers.
            axes: Values to try instead, by the setting's name; None: those for the machine.

        Raises:
            SettingError: There is no such setting, or a value is out of range.
        """
        loads = _checked("concurrency", concurrency, _CONCURRENCY)
        known = {parameter.name: parameter for parameter in parameters_of(ServingSettings)}
        usual: dict[str, tuple[int, ...]] = {
            "workers": _doubling(cores),
            "threads": _doubling(cores),
            "largest_batch": _doubling(min(_MOST_JOINED, loads[-1])) if joins else (1,),
            "readers": _doubling(cores) if long_requests else (1,),
        }
        for name, values in axes.items():
            if values is not None:
                usual[name] = _checked(name, values, known[name])
        return cls(tuple(sources), concurrency=loads, **usual)

    @property
    def size(self) -> int:
        """How many points there are."""
        return len(self.settings()) * len(self.sources) * len(self.concurrency)

    def settings(self) -> list[ServingSettings]:
        """All combinations of settings."""
        axes = self.workers, self.threads, self.largest_batch, self.readers
        return [ServingSettings(*values) for values in product(*axes)]

    def points(self) -> Iterator[TuningPoint]:
        """All points, those of one server after each other."""
        for source, settings, concurrency in product(self.sources, self.settings(), self.concurrency):
            yield TuningPoint(source, settings, concurrency)

    def same(self, point: TuningPoint) -> TuningPoint:
        """The point whose measurement is also this one's."""
        return replace(point, settings=self.same_settings(point.settings, point.concurrency))

    def same_settings(self, settings: ServingSettings, concurrency: int) -> ServingSettings:
        """The settings that do the same under a load: no more requests are joined than there are connections."""
        enough = [size for size in self.largest_batch if size >= concurrency]
        return replace(settings, largest_batch=min(settings.largest_batch, enough[0])) if enough else settings


_CONCURRENCY = Parameter("concurrency", "int", 8, minimum=1, maximum=MOST_CONNECTIONS)


def _checked(name: str, values: Any, parameter: Parameter) -> tuple[int, ...]:
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise SettingError(f"{name} must be a list of whole numbers, got {values!r}.", remedy="for example [1, 8, 32].")
    for value in values:
        parameter.check(value, "")
    return tuple(sorted({int(value) for value in values}))


def _doubling(most: int) -> tuple[int, ...]:
    """1, 2, 4, … and the last."""
    return tuple(sorted({*(2**i for i in range(most.bit_length())), most}))
