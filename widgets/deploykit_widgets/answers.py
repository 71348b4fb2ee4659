"""What a command of the browser gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Reply:
    """An answer with attached bytes.

    Attributes:
        value: JSON.
        buffers: Pictures and similar data; ``value`` says what each one is.
    """

    value: Any
    buffers: Sequence[bytes] = field(default=())


@dataclass(frozen=True)
class Later:
    """An answer that takes time: ``work`` runs in its own thread and returns JSON or a `Reply`.

    Attributes:
        name: For the thread.
        work: Called without arguments; if it fails, its exception is the answer.
    """

    name: str
    work: Callable[[], Any]


#: Called with the browser's arguments as keywords. Returns JSON, a `Reply` or a `Later`.
Command = Callable[..., Any]
