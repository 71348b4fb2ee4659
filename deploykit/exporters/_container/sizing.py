"""How an artifact's container is named, sized and started.

Memory comes from the child process that ran the model on the golden inputs during the export: what it had at most, its
libraries included, is what a worker takes when it is ready. On top of that come requests and their batches.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from deploykit.core.digest import path_digest
from deploykit.core.errors import ExportError, SettingError
from deploykit.exporters._contract import Draft
from deploykit.measuring.exportable import Exportable

PORT = 8501
USER = 65532
#: Where the image has the artifact.
HOME = "/srv/artifact"
#: The process that starts the server, watches workers and answers for them: 34 MB resident, and some room.
_PARENT_MIB = 64
#: Requests of a worker that arrive or wait.
_HELD_MIB = 128
#: Growth of a worker by larger batches than the golden inputs, and by fragments, before it is replaced.
_GROWTH = 1.5
#: A worker is killed at a quarter above the size at which it is replaced, see ``docs/how-to/serve.md``.
_KILLED = 1.25
_ROUND_MIB = 32
_MILLICORES_BESIDE = 500
#: Longest name of a DNS label, less what Kubernetes and KServe add to the names of what they make.
_LONGEST = 40
_PART = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_HOST = r"(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*(?::\d+)?/)?"
_IMAGE = re.compile(rf"{_HOST}{_PART}(?:/{_PART})*(?::[A-Za-z0-9_][A-Za-z0-9._-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?")


@dataclass(frozen=True)
class Sizing:
    """A container's name, size and command.

    Attributes:
        name: A DNS label made of the model's name.
        image: Image with its tag.
        workers: Processes with the model.
        cores: Cores that are busy when all workers are.
        request_mib: Memory that it takes when it is ready.
        limit_mib: Memory beyond which it is killed.
        worker_mib: Memory of a worker beyond which it is replaced.
        measured_mib: Memory of the process that ran the model.
    """

    name: str
    image: str
    workers: int
    cores: int
    request_mib: int
    limit_mib: int
    worker_mib: int
    measured_mib: int

    @property
    def repository(self) -> str:
        """The image without its tag."""
        return self.image.rpartition(":")[0] if self.tag else self.image

    @property
    def tag(self) -> str:
        """The image's tag, "" for none."""
        last = self.image.rpartition("/")[2]
        return last.partition(":")[2] if "@" not in last else ""

    @property
    def limit_millicores(self) -> int:
        """Most CPU time: the workers', and that of the process that watches them."""
        return 1000 * self.cores + _MILLICORES_BESIDE

    @property
    def command(self) -> list[str]:
        """What starts the server."""
        return [
            "deploykit", "serve", HOME, "--host", "0.0.0.0", "--port", str(PORT), "--insecure",  # noqa: S104  inside the container
            "--workers", str(self.workers), "--log-format", "json",
            "--limit", f"memory_bytes={self.worker_mib << 20}", "--limit", f"held_bytes={_HELD_MIB << 20}",
            "--limit", "grace_seconds=5",
        ]  # fmt: skip

    @property
    def words(self) -> str:
        """Why it is as large as it is, for the README."""
        return (
            f"The model took {self.measured_mib} MiB when it was run for this export, its libraries included. So the "
            f"container asks for {self.request_mib} MiB and {_count(self.cores, 'core')}, and may take "
            f"{self.limit_mib} MiB; a worker that takes {self.worker_mib} MiB is replaced before that."
        )


def sizing(candidate: Exportable, draft: Draft) -> Sizing:
    """How the container of a candidate is sized, by its layout's parameters.

    Raises:
        SettingError: The image's name is none, or the memory is less than the model takes.
        ExportError: The model's name cannot become a DNS label.
    """
    name = label(draft.name)
    workers, given = int(draft.parameters["workers"] or 1), int(draft.parameters["memory_mib"] or 0)
    measured = -(-draft.resident_bytes // (1 << 20))
    request = _rounded(_PARENT_MIB + workers * measured)
    worker = round(_GROWTH * measured) + _HELD_MIB
    limit = _rounded(_PARENT_MIB + workers * _KILLED * worker)
    least = _rounded(_PARENT_MIB + workers * _KILLED * measured)
    if given:
        if given < least:
            raise SettingError(
                f"The memory, memory_mib={given}, is too small: {_count(workers, 'worker')} with this model and what "
                f"they grow by take {least} MiB.",
                remedy=f"give at least {least}, or 0 for {limit}.",
            )
        limit, worker = given, round((given - _PARENT_MIB) / workers / _KILLED)
    return Sizing(
        name=name,
        image=_image(str(draft.parameters["image"]), name, candidate),
        workers=workers,
        cores=workers * candidate.target.threads,
        request_mib=request,
        limit_mib=limit,
        worker_mib=worker,
        measured_mib=measured,
    )


def label(name: str) -> str:
    """A DNS label that begins with a letter, made of a model's name: what Kubernetes takes as a name.

    Raises:
        ExportError: It is too long.
    """
    found = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not found[:1].isalpha():
        found = f"model-{found}".rstrip("-")
    if len(found) > _LONGEST:
        raise ExportError(
            f"The name {name!r} has {len(found)} characters, and Kubernetes' names are made from at most {_LONGEST}.",
            remedy="export with name='…', a shorter one.",
        )
    return found


def _image(given: str, name: str, candidate: Exportable) -> str:
    if not given:
        return f"{name}:{path_digest(candidate.path)[:12]}"
    if not _IMAGE.fullmatch(given):
        raise SettingError(
            f"Image {given!r} is not the name of an image.",
            remedy="give one such as registry.example.com/team/model:1, in lower case.",
        )
    return given


def _rounded(mib: float) -> int:
    return int(-(-mib // _ROUND_MIB) * _ROUND_MIB)


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
