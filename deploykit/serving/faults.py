"""Why a request is not answered, whatever its protocol; each protocol has statuses and error bodies of its own."""

from __future__ import annotations

from itertools import islice
from typing import Any, ClassVar

from deploykit.core.errors import RequestError

#: Of a value in a message: characters, elements of a list, members of an object, levels of either.
_CHARACTERS, _ELEMENTS, _MEMBERS, _LEVELS = 60, 8, 3, 3


class Fault(RequestError):  # noqa: N818  the word of remote procedure calls for it
    """Why a request is not answered. The message says what was expected and what came.

    Attributes:
        kind: What a protocol maps to its status.
    """

    kind: ClassVar[str] = "internal"


class InvalidInputError(Fault):
    """The request is not what the protocol or the model expects.

    Args:
        message: What was expected and what came.
        serving: TensorFlow Serving's words for it, which its clients may look for; its protocols say them first.
    """

    kind = "invalid"

    def __init__(self, message: str, serving: str = "") -> None:
        super().__init__(message)
        self.serving = serving


class NotFoundError(Fault):
    """No such route, model or version."""

    kind = "not_found"


class DeadlineError(Fault):
    """Something did not happen in time."""

    kind = "deadline"


class TooLargeError(Fault):
    """The request is larger than the limit.

    Args:
        got: Its size, in words.
        limit: The limit in bytes.
        close: Whether to close the connection instead of reading the rest away.
    """

    kind = "too_large"

    def __init__(self, got: str, limit: int, *, close: bool) -> None:
        super().__init__(f"Expected at most {limit:,} bytes, got {got}; send smaller batches.")
        self.close = close


class OverloadError(Fault):
    """More requests wait than the server keeps.

    Args:
        message: What there is too much of.
        retry_s: Seconds after which the client may try again.
    """

    kind = "overload"

    def __init__(self, message: str, retry_s: int = 1) -> None:
        super().__init__(message)
        self.retry_s = retry_s


class ExpiredError(Fault):
    """The answer was not ready within the time that a request has."""

    kind = "expired"


class UnavailableError(Fault):
    """The server cannot answer now: it is going down, or a worker is being replaced."""

    kind = "unavailable"


class PoisonError(Fault):
    """The same examples have ended a worker more than once."""

    kind = "poison"


class InternalError(Fault):
    """Something unexpected failed; the client gets no details."""

    def __init__(self) -> None:
        super().__init__("internal error; the server's log has the details.")


def shown(value: Any, levels: int = _LEVELS) -> str:
    """A value from a request as it stands in a message: short, however long or deep it is, and always encodable."""
    if isinstance(value, dict):
        inner = [f"{shown(k)}: {shown(v, levels - 1)}" for k, v in islice(value.items(), _MEMBERS if levels else 0)]
        return f"{{{', '.join(inner)}{_rest(len(value) - len(inner), inner)}}}"
    if isinstance(value, list | tuple):
        inner = [shown(v, levels - 1) for v in islice(value, _ELEMENTS if levels else 0)]
        return f"[{', '.join(inner)}{_rest(len(value) - len(inner), inner)}]"
    if isinstance(value, int) and value.bit_length() > 4 * _CHARACTERS:
        return f"a number of {value.bit_length()} bits"
    cut = isinstance(value, str | bytes) and len(value) > _CHARACTERS
    text = f"{value[:_CHARACTERS]!r}…" if cut else repr(value)
    return text.encode("utf-8", "backslashreplace").decode()


def _rest(count: int, before: list[str]) -> str:
    return "" if not count else ", …" if before else "…"
