"""Who is let in: tokens, their limits, and what of an answer they see, the same for all protocols.

A protocol asks the `Guard` who a request is from and runs it as that `Caller`; the runner of a model admits a caller's
batches and limits their outputs. Rates and daily budgets are counted in one file that all workers share, beside the
tokens, so that a restart gives no token a fresh budget.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DeploykitError, SettingError
from deploykit.core.security.tokens import Token, Tokens
from deploykit.serving.faults import Fault, OverloadError
from deploykit.serving.protection.limited import limited

if TYPE_CHECKING:
    from deploykit.serving.batches import Outputs
    from deploykit.serving.dataplane import DataPlane

#: How often the file of tokens is looked at.
_LOOK_SECONDS = 1.0
#: Seconds of its rate that a token may use at once.
_BURST_SECONDS = 2.0
_DAY = 86400
#: Fields of a record, 8 bytes each: part of the digest, predictions left in millionths, when that was in nanoseconds,
#: the day, examples of that day.
_FIELDS, _RECORDS = 5, 1024
_BYTES = 8 * _FIELDS * _RECORDS


class UnauthorizedError(Fault):
    """The request has no token, or one that is not known."""

    kind = "unauthorized"

    def __init__(self) -> None:
        super().__init__("Expected a valid token: Authorization: Bearer TOKEN.")


class ForbiddenError(Fault):
    """The token is not for this."""

    kind = "forbidden"


class Ledger:
    """What tokens have used, in a file that workers share.

    Args:
        path: The file; it is made where it is not there yet.

    Raises:
        SettingError: It cannot be made.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
            if os.fstat(self._file).st_size < _BYTES:
                os.truncate(self._file, _BYTES)
            self._cells = memoryview(mmap.mmap(self._file, _BYTES)).cast("q")
        except OSError as error:
            raise SettingError(
                f"Cannot keep what tokens use in {path}: {error.strerror}.", remedy="make its folder writable."
            ) from error

    def admit(self, token: Token, examples: int) -> None:
        """Count a prediction.

        Raises:
            OverloadError: It is more than the token's rate or daily budget allows; nothing is counted then.
        """
        with self._locked():
            cells = self._record(token)
            wall, now = time.time(), time.time_ns()
            day = int(wall // _DAY)
            used = cells[4] if cells[3] == day else 0
            if token.per_day and used + examples > token.per_day:
                raise OverloadError(
                    f"The token {token.name!r} may have {token.per_day:,} examples a day and has had {used:,}; it may "
                    "have more after midnight (UTC).", math.ceil(_DAY - wall % _DAY),
                )  # fmt: skip
            if token.per_second:
                most = max(1.0, _BURST_SECONDS * token.per_second)
                passed = (now - cells[2]) / 1e9
                left = min(most, cells[1] / 1e6 + passed * token.per_second) if 0 <= passed < _DAY else most
                if left < 1:
                    raise OverloadError(
                        f"The token {token.name!r} may ask {token.per_second:g} times a second.",
                        math.ceil((1 - left) / token.per_second),
                    )
                cells[1], cells[2] = int((left - 1) * 1e6), now
            cells[3], cells[4] = day, used + examples

    def _record(self, token: Token) -> memoryview:
        key = int.from_bytes(bytes.fromhex(token.digest)[:8], "little", signed=True) or 1
        for place in range(_RECORDS):
            record = self._cells[place * _FIELDS : (place + 1) * _FIELDS]
            if record[0] in (key, 0):
                record[0] = key
                return record
        raise OverloadError("The file of what tokens use is full; an administrator must delete it.")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if os.name != "posix":  # one worker there
            yield
            return
        import fcntl

        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)


class Caller:
    """Who a request is from.

    Args:
        token: Its token.
        ledger: Where its use is counted.
    """

    def __init__(self, token: Token, ledger: Ledger) -> None:
        self.token = token
        self._ledger = ledger
        self._running = 0

    @contextlib.contextmanager
    def admitted(self, examples: int) -> Iterator[None]:
        """Run a prediction.

        Raises:
            OverloadError: The token's limits are used up.
        """
        if self.token.at_once and self._running >= self.token.at_once:
            raise OverloadError(f"The token {self.token.name!r} may have {self.token.at_once} predictions in progress.")
        if self.token.per_second or self.token.per_day:
            self._ledger.admit(self.token, examples)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    def shown(self, outputs: Outputs, plane: DataPlane) -> Outputs:
        """What it may see of an answer.

        Raises:
            ForbiddenError: An output cannot be limited as the token's are.
        """
        rule = self.token.outputs
        if rule == "all":
            return outputs
        found: dict[str, Any] = {}
        for name, array in outputs.items():
            shown = limited(array, plane.meanings.get(name), rule)
            if shown is None:
                raise ForbiddenError(
                    f"The token {self.token.name!r} sees {rule} of class scores, and the output {name!r} has none."
                )
            found[name] = shown
        return found


#: Who the work in progress is for; None where everything is let in.
CALLER: ContextVar[Caller | None] = ContextVar("deploykit_caller", default=None)


class Guard:
    """The tokens of a server. Belongs to one event loop; `caller` may be called from any thread.

    Args:
        path: The file of tokens, which is read again when it changes.
        more: Tokens beside those of the file.

    Raises:
        SettingError: It cannot be used.
    """

    def __init__(self, path: Path, more: Iterable[Token] = ()) -> None:
        self._path = path
        self._more = Tokens(more)
        self._ledger = Ledger(path.with_name(f"{path.name}.usage"))
        self._callers: dict[str, Caller] = {}
        self._looked = 0.0
        self._seen = self._state()
        self._tokens = Tokens.open(path)

    def caller(self, secret: bytes | None, scope: str) -> Caller:
        """Who a request is from.

        Args:
            secret: What it shows, see `deploykit.core.security.tokens.bearer`.
            scope: What it is for.

        Raises:
            UnauthorizedError: It shows no valid token.
            ForbiddenError: The token has another scope.
        """
        self._look()
        token = None if secret is None else self._tokens.find(secret) or self._more.find(secret)
        if token is None:
            raise UnauthorizedError
        if scope not in token.scopes:
            raise ForbiddenError(f"The token {token.name!r} is for {', '.join(token.scopes)}; this takes {scope}.")
        caller = self._callers.get(token.digest)
        if caller is None or caller.token is not token:
            caller = self._callers[token.digest] = Caller(token, self._ledger)
        return caller

    def name_of(self, secret: bytes | None) -> str:
        """Name of the token that a request shows, whatever it is for; "" without one that is known."""
        token = None if secret is None else self._tokens.find(secret) or self._more.find(secret)
        return "" if token is None else token.name

    def _look(self) -> None:
        """Read the tokens again if they have changed; those that cannot be read change nothing but the log."""
        now = time.monotonic()
        if now < self._looked + _LOOK_SECONDS:
            return
        self._looked, state = now, self._state()
        if state == self._seen:
            return
        self._seen = state
        try:
            self._tokens = Tokens.open(self._path)
        except DeploykitError as error:
            import logging

            logging.getLogger("deploykit.serving").error("the tokens stay as they were: %s", error)

    def _state(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_ino, found.st_size


def bearer(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The secret of an ``Authorization: Bearer …`` header, whose name is in lower case; None without exactly one."""
    given = [value for name, value in headers if name == b"authorization"]
    if len(given) != 1:
        return None
    scheme, _, secret = given[0].strip().partition(b" ")
    return secret.strip() if scheme.lower() == b"bearer" and secret.strip() else None
