"""TLS: the server's certificate, and those that clients must have."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from deploykit.core.errors import SettingError
from deploykit.core.files import read_small

_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Tls:
    """Files of a server's TLS, in PEM form.

    Attributes:
        certificate: Its certificate, followed by those that lead to its authority.
        key: The private key, without a password.
        clients: Certificates of the authorities whose clients are let in; None: no client needs one.
    """

    certificate: Path
    key: Path
    clients: Path | None = None

    @classmethod
    def of(cls, certificate: str | Path | None, key: str | Path | None, clients: str | Path | None) -> Self | None:
        """The files, checked; None without any.

        Raises:
            SettingError: One is missing or cannot be used.
        """
        if certificate is None and key is None and clients is None:
            return None
        if certificate is None or key is None:
            raise SettingError(
                "TLS needs both a certificate and its key.", remedy="give both, in PEM form, or neither of them."
            )
        found = cls(
            Path(certificate).absolute(), Path(key).absolute(), None if clients is None else Path(clients).absolute()
        )
        found.context()
        return found

    def to_json(self) -> dict[str, str]:
        """Its JSON form."""
        return {name: str(path) for name, path in vars(self).items() if path is not None}

    @classmethod
    def from_json(cls, found: Mapping[str, str]) -> Self:
        """The files of a JSON form."""
        return cls(**{name: Path(path) for name, path in found.items()})

    def content(self) -> tuple[bytes, bytes, bytes | None]:
        """Bytes of key, certificate and clients' authorities.

        Raises:
            SettingError: One cannot be read.
        """
        key, certificate = (
            read_small(path, _MOST_BYTES, what, SettingError)
            for path, what in ((self.key, "the key"), (self.certificate, "the certificate"))
        )
        clients = self.clients and read_small(self.clients, _MOST_BYTES, "the clients' authorities", SettingError)
        return key, certificate, clients or None

    def context(self) -> ssl.SSLContext:
        """What a server listens with: TLS 1.2 or later.

        Raises:
            SettingError: A file cannot be read, holds no such thing, or key and certificate do not fit.
        """
        self.content()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            # Not to be asked for on the terminal of a server.
            context.load_cert_chain(self.certificate, self.key, password=lambda: b"")
        except (ssl.SSLError, OSError, ValueError) as error:
            raise SettingError(
                f"The certificate {self.certificate} and the key {self.key} cannot be used: {error}.",
                remedy="give a PEM certificate and its PEM key without a password.",
            ) from error
        if self.clients is not None:
            try:
                context.load_verify_locations(self.clients)
            except (ssl.SSLError, OSError) as error:
                raise SettingError(
                    f"{self.clients} holds no certificates of authorities: {error}.", remedy="give a PEM file of them."
                ) from error
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def own_context(self) -> ssl.SSLContext:
        """What asks this very server: its certificate is known, whatever names it has."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        # Python 3.13 also asks for extensions that certificates made by hand rarely have.
        context.verify_flags = (context.verify_flags | ssl.VERIFY_X509_PARTIAL_CHAIN) & ~ssl.VERIFY_X509_STRICT
        context.check_hostname = False
        if self.clients is not None:  # let in if one of those authorities has signed the server's own
            context.load_cert_chain(self.certificate, self.key)
        return context
