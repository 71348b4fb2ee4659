"""A file that exists already, made by any tool: it joins a sweep as a candidate and is judged like the others."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from deploykit.core.errors import ModelFileError
from deploykit.core.parameter import Parameter
from deploykit.core.problem import Effect, Facts
from deploykit.loading._contract import FORMATS
from deploykit.transforms._conditions import Condition, SameSignature
from deploykit.transforms._contract import Family, Transform, TransformJob, Variant
from deploykit.transforms._given_files import GivenFile

GIVEN = Family("given", "triangle-left", 90)


class _File(Variant):
    """A file of one format, which takes the place of the model, whatever format that has."""

    accepts = frozenset(FORMATS.names())
    uses = ("file",)
    needs = ("file",)
    seeded = False

    def __init__(self, format_name: str) -> None:
        self.name = format_name  # type: ignore[misc]  # one variant for each format that is installed
        self.label = f"existing file ({format_name})"  # type: ignore[misc]
        self.produces = format_name  # type: ignore[misc]

    def unable(self, parameters: dict[str, Any]) -> str:
        """Files of other formats."""
        given = GivenFile.read(parameters["file"])
        if given is None:
            return "no file is given"
        if given.format == self.produces:
            return ""
        own, other = (FORMATS.get(name).label for name in (given.format, self.produces))
        return f"{given.name} is a file of {own}, which cannot be converted to {other}"

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """What its reader has found."""
        given = GivenFile.read(parameters["file"])
        return frozenset({"quantized", "fully quantized"} if given and given.quantized else ())

    def ensures(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Nothing of a file: names and types that differ are adapted, or refused before a sweep starts."""
        return () if parameters["file"] else (SameSignature(),)

    def bytes_a_weight(self, parameters: dict[str, Any], facts: Facts) -> float:
        """Integers of 8 bits, or float32."""
        given = GivenFile.read(parameters["file"])
        return 1.0 if given and given.quantized else 4.0

    def _apply(self, job: TransformJob) -> None:
        if job.file is None or not job.file.exists():
            raise ModelFileError(f"{job['file']}: the store does not hold this file.", remedy="name its path again.")
        if job.file.is_dir():
            shutil.copytree(job.file, job.target, copy_function=_linked)
        else:
            _linked(job.file, job.target)


def _linked(source: str | Path, target: str | Path) -> None:
    """One file in two places of a store, where its disk can do that."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


class ExistingFile(Transform):
    """A model file from any tool, in place of the original model."""

    name = "existing_file"
    label = "existing file"
    help = (
        "Judges a model file that exists already, made with any tool, beside the other candidates. Its inputs and "
        "outputs must be those of the original model, and it is not changed: whether it was made from the original "
        "model is not checked."
    )
    family = GIVEN
    from_file = True
    parameters = (
        Parameter(
            "file", "path", "",
            "Path of the file. A sweep keeps a copy under the fingerprint of its content; a changed file is another "
            "candidate.",
        ),
    )  # fmt: skip
    variants = tuple(map(_File, FORMATS.names()))

    def describe(self, given: dict[str, Any]) -> str:
        """The name of the file."""
        path = str(self.complete(given)["file"])
        found = GivenFile.read(path)
        return (found.name if found else path.replace("\\", "/").rpartition("/")[2]) or self.label


ADAPTER = ExistingFile()
