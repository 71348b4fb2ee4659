"""Where candidates run, as people call it."""

from __future__ import annotations

import functools

from deploykit.core.candidate import Target
from deploykit.core.registry import registry


@functools.cache  # the registry looks for new files each time
def runtime_label(name: str) -> str:
    """A runtime's name for people: ``LiteRT`` for ``litert``; of a runtime that is not installed here, its own."""
    known = registry("deploykit.runtimes", "runtime")
    return str(known.get(name).label) if name in known else name


def place(target: Target) -> str:
    """Runtime, and device, threads and batch where they are not the usual ones: ``LiteRT · 2 threads``."""
    text = runtime_label(target.runtime)
    text += f" {target.device}" if target.device != "cpu" else ""
    text += f" · {target.threads} threads" if target.threads != 1 else ""
    return text + (f" · batch {target.batch_size}" if target.batch_size != 1 else "")
