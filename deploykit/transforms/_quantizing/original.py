"""The original model in the format of what was made of it, to compare them layer by layer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from deploykit.converters._contract import CONVERTERS, Job
from deploykit.core.errors import UnsupportedModelError
from deploykit.loading._contract import FORMATS


def converted(original: Job, form: str, folder: Path) -> Path:
    """A file of the original model, converted on the way that a plan takes where it has another format.

    Args:
        original: The original model.
        form: The format that is wanted.
        folder: Where it is converted.

    Raises:
        UnsupportedModelError: There is no way, or a layer has no counterpart.
    """
    from deploykit.converters._route import route

    way = route(original.source_format, frozenset({form}), CONVERTERS)
    if way is None:
        labels = [FORMATS.get(name).label for name in (original.source_format, form)]
        raise UnsupportedModelError(
            f"The original model cannot be converted from {labels[0]} to {labels[1]}, to compare layers.",
            remedy=f"give the original model as {labels[1]}.",
        )
    job = original
    for number, converter in enumerate(way):
        target = folder / f"{number}.{converter.produces}"
        job = replace(job, target=target, notes={})
        converter.convert(job)
        job = replace(job, source=target, source_format=converter.produces)
    return job.source
