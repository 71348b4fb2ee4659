"""How OpenSSH's own client is run, and what its refusals mean.

The user's ``ssh`` is used rather than a library, so that their configuration, agent, keys and known hosts hold here as
they do in a terminal. Nothing that it checks is switched off.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from deploykit._version import __version__
from deploykit.core.errors import EngineError
from deploykit.engines._link import Unreachable

#: The environment's variable that replaces ``ssh``, with options, as GIT_SSH_COMMAND does for Git.
COMMAND = "DEPLOYKIT_SSH"
#: Where Python is looked for on the other machine, in this order, when the address names none.
VENV = ".deploykit"
CONNECT_S = 10
_OPTIONS = {
    "BatchMode": "yes",  # questions cannot be answered here
    "ConnectTimeout": str(CONNECT_S),
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "ClearAllForwardings": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "RequestTTY": "no",
}
_ADDRESS = re.compile(
    r"(?:(?P<user>[^\s@/:-][^\s@/:]*)@)?(?P<host>\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[^\s@:/\[\]-][^\s@:/\[\]]*)"
    r"(?::(?P<port>\d{1,5}))?(?P<python>/[\w./+@%:, ~-]*)?"
)
#: Reads Python up to a zero byte and runs it; has no quotation marks, since it stands in two pairs of them.
_READ = "import os;exec(bytes(iter(lambda:os.read(0,1)[0],0)))"
_NO_PYTHON = "deploykit: no Python"
_FORMS = "ssh://host, ssh://user@host:22, or ssh://user@host/path/of/python where Python is not on the PATH there"


@dataclass(frozen=True)
class Place:
    """Where ``ssh`` is to go.

    Attributes:
        host: A name, a number, or an alias of the user's configuration.
        user: "" for the one of the configuration.
        port: 0 for the one of the configuration.
        python: The interpreter there; "" to look for one.
    """

    host: str
    user: str = ""
    port: int = 0
    python: str = ""

    @classmethod
    def of(cls, address: str) -> Place:
        """The place that follows ``ssh://``.

        Raises:
            EngineError: It is not a place.
        """
        found = _ADDRESS.fullmatch(address)
        if found is None or not 0 <= int(found["port"] or 0) < 1 << 16:
            said = "a password in it would be seen by others" if re.match(r"[^@/]*:[^@/]*@", address) else "not one"
            shown = "***@" + address.rpartition("@")[2] if "password" in said else address
            raise EngineError(f"The address of the machine, {shown!r}, cannot be used: {said}.", remedy=f"{_FORMS}.")
        python = (found["python"] or "").removeprefix("/~")
        if found["python"] and python != found["python"]:
            python = f"~{python}"
        return cls(found["host"].strip("[]"), found["user"] or "", int(found["port"] or 0), python.rstrip("/"))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}" if self.user else host

    @property
    def url(self) -> str:
        """Its address."""
        return f"ssh://{self}{f':{self.port}' if self.port else ''}"

    @property
    def known_as(self) -> str:
        """Its name among the known hosts."""
        return f"[{self.host}]:{self.port}" if self.port not in {0, 22} else self.host

    def in_terminal(self, command: str = "") -> str:
        """The line that does the same in a terminal."""
        words = ["ssh", *(["-p", str(self.port)] if self.port else []), str(self).replace("[", "").replace("]", "")]
        return " ".join([*words, *([shlex.quote(command)] if command else [])])

    def command(self) -> list[str]:
        """The process that runs what it reads in a Python on the machine."""
        options = [text for name, value in _OPTIONS.items() for text in ("-o", f"{name}={value}")]
        options += ["-p", str(self.port)] if self.port else []
        options += ["-l", self.user] if self.user else []
        ssh = shlex.split(os.environ.get(COMMAND, "")) or ["ssh"]
        return [*ssh, "-T", *options, "--", self.host, f"exec sh -c '{self._script()}'"]

    def _script(self) -> str:
        """For the POSIX shell there, whatever shell the user has; it stands in single quotes."""
        tried = [self.python.replace("~", "$HOME", 1)] if self.python else [f"$HOME/{VENV}/bin/python", "python3"]
        names = " ".join(f'"{name}"' for name in tried)
        return (
            f'for p in {names}; do if command -v "$p" >/dev/null 2>&1; then exec "$p" -c "{_READ}"; fi; done; '
            f'echo "{_NO_PYTHON}" >&2; exit 127'
        )


def explain(place: Place, failure: Unreachable) -> tuple[EngineError, bool]:
    """What a failed connection means, and whether trying again may help."""
    said, host = failure.said, place.host
    last = next((line for line in reversed(said.splitlines()) if line.strip()), "").strip().rstrip(".")
    if "IDENTIFICATION HAS CHANGED" in said or re.search(r"Host key for .* has changed", said):
        shown = re.search(r"SHA256:\S+?(?=\.?\s)", said + "\n")
        where = re.search(r'ssh-keygen -f "?(.+?)"? -R', said)
        file = f" -f {shlex.quote(where[1])}" if where else ""
        offered = f" It now shows {shown[0]}." if shown else ""
        return EngineError(
            f"The host key of {host} has changed: the machine was set up again, or another one answers in its place. "
            f"Nothing was sent.{offered}",
            remedy="ask the administrator of the machine whether that fingerprint is right; only then: ssh-keygen"
            f"{file} -R {shlex.quote(place.known_as)}, and connect once with: {place.in_terminal()}.",
        ), False
    if "Host key verification failed" in said:
        return EngineError(
            f"The machine {host} is not among your known hosts, so its identity cannot be checked.",
            remedy=f"connect once in a terminal, compare the fingerprint and accept it: {place.in_terminal()}.",
        ), False
    if "Permission denied" in said or "Too many authentication failures" in said:
        return EngineError(
            f"The machine {place} accepts none of your keys: {last}.",
            remedy="put your public key there (ssh-copy-id), or load its private key into the agent (ssh-add); this "
            f"must work without a password: {place.in_terminal('true')}.",
        ), False
    if "Could not resolve hostname" in said:
        return EngineError(
            f"There is no machine called {host}: {last}.", remedy="correct its name, or add it to ~/.ssh/config."
        ), False
    if _NO_PYTHON in said or failure.status in {126, 127}:
        wanted = f"at {place.python}" if place.python else f"(looked for ~/{VENV}/bin/python and python3)"
        return EngineError(f"The machine {place} has no Python {wanted}.", remedy=to_set_up(place)), False
    if failure.status is None:
        return EngineError(
            f"The machine {place} was reached, but said nothing in time.", remedy="try again when it is less busy."
        ), True
    return EngineError(
        f"The machine {place} cannot be reached: {last or f'ssh ended with status {failure.status}'}.",
        remedy=f"check that it is on and runs an SSH server; this must work: {place.in_terminal('true')}.",
    ), failure.status == 255


def check_found(place: Place, found: Mapping[str, Any]) -> None:
    """Raise what keeps the Python there from serving.

    Args:
        place: Where it is.
        found: What the bootstrap has found, see `deploykit.engines._bootstrap`.

    Raises:
        EngineError: It is too old, or has no deploykit, another one, or not all that deploykit needs.
    """
    where = f"The Python of the machine {place}, {found['executable']} ({found['python']}),"
    if not found["fits"]:
        raise EngineError(f"{where} is older than 3.11.", remedy=to_set_up(place))
    if not found["version"]:
        raise EngineError(f"{where} has no deploykit: {found['missing']}.", remedy=to_set_up(place))
    if found["version"] != __version__:
        raise EngineError(
            f"{where} has deploykit {found['version']}, this machine has {__version__}.",
            remedy=pip(place, found["executable"], [f"deploykit=={__version__}"]),
        )
    if found["missing"]:
        raise EngineError(f"{where} lacks what deploykit's worker needs: {found['missing']}.", remedy=to_set_up(place))


def pip(place: Place, python: str, packages: Collection[str]) -> str:
    """The line that installs packages there."""
    names = " ".join(f'"{name}"' if "[" in name else name for name in packages)
    return f"run: {place.in_terminal(f'{python} -m pip install {names}')}."


def to_set_up(place: Place, extra: str = "sweep") -> str:
    """The line that makes an environment there in which deploykit finds itself."""
    line = f'python3 -m venv ~/{VENV} && ~/{VENV}/bin/pip install "deploykit[{extra}]=={__version__}"'
    return f"install Python 3.11 or newer there, then run: {place.in_terminal(line)}."
