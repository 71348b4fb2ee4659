"""What can be wrong with a request, and the HTTP status of each."""

from __future__ import annotations

from typing import ClassVar

from deploykit.core.errors import RequestError


class BadRequestError(RequestError):
    """A wrong request. The message says what was expected and what came.

    Attributes:
        status: HTTP status.
    """

    status: ClassVar[int] = 400


class NotFoundError(BadRequestError):
    """No such route, model or version."""

    status = 404


class MethodError(BadRequestError):
    """The route exists, with another method.

    Args:
        got: The request's method.
        allowed: The route's method.
    """

    status = 405

    def __init__(self, got: str, allowed: str) -> None:
        super().__init__(f"Method {got} is not allowed here; use {allowed}.")
        self.allowed = allowed


class SlowError(BadRequestError):
    """The body did not arrive in time."""

    status = 408


class TooLargeError(BadRequestError):
    """The body is larger than the limit.

    Args:
        got: Its size, in words.
        limit: The limit in bytes.
        close: Whether to close the connection instead of reading the rest away.
    """

    status = 413

    def __init__(self, got: str, limit: int, *, close: bool) -> None:
        super().__init__(f"Expected at most {limit:,} bytes, got {got}; send smaller batches.")
        self.close = close


class EncodingError(BadRequestError):
    """The body's Content-Encoding is not understood."""

    status = 415


class OverloadError(BadRequestError):
    """More requests wait than the server keeps."""

    status = 429


class NotReadyError(BadRequestError):
    """The server is going down."""

    status = 503
