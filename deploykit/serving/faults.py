"""Why a request is not answered, whatever its protocol; each protocol has statuses and error bodies of its own."""

from __future__ import annotations

from typing import ClassVar

from deploykit.core.errors import RequestError


class Fault(RequestError):  # noqa: N818  the word of remote procedure calls for it
    """Why a request is not answered. The message says what was expected and what came.

    Attributes:
        kind: What a protocol maps to its status.
    """

    kind: ClassVar[str] = "internal"


class InvalidInputError(Fault):
    """The request is not what the protocol or the model expects."""

    kind = "invalid"


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
    """More requests wait than the server keeps."""

    kind = "overload"


class UnavailableError(Fault):
    """The server is going down."""

    kind = "unavailable"


class InternalError(Fault):
    """Something unexpected failed; the client gets no details."""

    def __init__(self) -> None:
        super().__init__("internal error; the server's log has the details.")
