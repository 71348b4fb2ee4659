"""The size of a file if each weight took only the bits that it needs: computed, since no runtime reads such files."""

from __future__ import annotations

from deploykit.core.result import Result
from deploykit.reporting import numbers
from deploykit.reporting.effects import has_effect
from deploykit.transforms._weights.sharing import SAVED


def packed_bytes(row: Result) -> int | None:
    """That size; None when the weights are not known to have few values, or are quantized for real."""
    found = [notes[SAVED] for notes in row.notes.values() if isinstance(notes, dict) and SAVED in notes]
    if row.measurement is None or not found or has_effect(row.candidate.recipe, "quantized"):
        return None
    return max(0, row.measurement.size_bytes - int(found[-1]))


def storage(row: Result) -> str:
    """The sizes of a file whose weights have few values, in words: what it is stored in, compressed and packed."""
    assert row.measurement is not None
    compressed = f"{numbers.kilobytes(row.measurement.compressed_bytes)} kB compressed"
    packed = packed_bytes(row)
    return compressed if packed is None else f"{compressed}, {numbers.kilobytes(packed)} kB packed (computed)"
