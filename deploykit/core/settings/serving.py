"""How an artifact is served: what tuning finds, the manifest keeps, and the server follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploykit.core.parameter import complete
from deploykit.core.serial import Plain
from deploykit.core.settings.ranged import parameters_of, ranged


@dataclass(frozen=True)
class ServingSettings(Plain):
    """How an artifact is served. ``dk.tune`` finds the best ones and writes them to the artifact.

    Attributes:
        workers: Processes, each with the model in memory.
        threads: Threads of one inference; 0: as many as were measured.
        largest_batch: Most examples of several requests that run as one batch; 1: each request runs alone; 0: the
            server chooses when it loads the model. More than one takes effect only if joining changes no answer.
        readers: Threads of a worker that read long requests, such as images.

    Example:
        >>> print(dk.types.ServingSettings(workers=2, largest_batch=16))
        2 workers, batches up to 16
        >>> print(dk.types.ServingSettings(threads=4))
        1 worker, 4 threads
    """

    workers: int = ranged(1, "Processes, each with the model in memory.", 1, 256)
    threads: int = ranged(0, "Threads of one inference; 0: as many as were measured.", 0, 1024)
    largest_batch: int = ranged(
        0, "Most examples of several requests that run as one batch; 0: chosen when the model is loaded.", 0, 1024
    )
    readers: int = ranged(1, "Threads of a worker that read long requests, such as images.", 1, 256)

    @classmethod
    def of(cls, given: ServingSettings | Mapping[str, Any]) -> ServingSettings:
        """Settings by name, the others at their defaults.

        Raises:
            SettingError: There is no such setting, or a value is out of range.
        """
        values: dict[str, Any] = dict(given) if isinstance(given, Mapping) else given.to_json()
        return cls(**complete(parameters_of(cls), values, "serving"))  # type: ignore[arg-type]  # all are whole numbers

    def __str__(self) -> str:
        said = [_count(self.workers, "worker")]
        if self.threads:
            said.append(_count(self.threads, "thread"))
        if self.largest_batch:
            said.append("each request alone" if self.largest_batch == 1 else f"batches up to {self.largest_batch}")
        if self.readers > 1:
            said.append(f"{self.readers} readers")
        return ", ".join(said)


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
