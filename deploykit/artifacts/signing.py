"""Signatures of artifacts as OpenSSF's model-signing makes them: whose it is, and that nothing has changed.

They are made with the package ``model-signing``, and can be checked with it anywhere. What a server checks is checked
here, with the package ``cryptography`` alone, and more strictly: the signature must be by the one key that is asked
for; all files but the signature itself are signed, Git's own too, which ``model-signing`` leaves out by default; links,
and files that are not signed, are refused.

Source: model-signing 1.1 (https://github.com/sigstore/model-transparency), a Sigstore bundle that holds an in-toto
statement in a DSSE envelope, signed by ECDSA.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploykit.core.digest import file_digest
from deploykit.core.errors import ExportError, SettingError
from deploykit.core.extras import require
from deploykit.core.files import read_small, replace_whole
from deploykit.core.serial import parse

#: The file of the signature in an artifact's folder.
SIGNATURE = "model.sig"
_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD = "application/vnd.in-toto+json"
_STATEMENT, _PREDICATE = "https://in-toto.io/Statement/v1", "https://model_signing/signature/v1.0"
_MOST_SIGNATURE_BYTES, _MOST_KEY_BYTES = 64 << 20, 64 << 10
_CURVES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
_SHOWN = 3


@dataclass(frozen=True)
class PublicKey:
    """A key that signatures are checked with.

    Attributes:
        key: Of the package ``cryptography``.
        id: SHA-256 of its PEM text, hexadecimal, as signatures name it.
        path: Its file.
    """

    key: Any
    id: str
    path: Path

    @classmethod
    def read(cls, path: str | Path) -> PublicKey:
        """The key of a PEM file.

        Raises:
            SettingError: There is no public key on a NIST curve in it.
            MissingExtraError: The package ``cryptography`` is not installed.
        """
        serialization = require("cryptography.hazmat.primitives.serialization", "protect")
        file = Path(path).expanduser()
        content = read_small(file, _MOST_KEY_BYTES, "the public key", SettingError)
        try:
            key = serialization.load_pem_public_key(content)
        except ValueError:
            kind = "a private key" if b"PRIVATE KEY" in content else "something else"
            raise SettingError(
                f"{file} holds {kind}; expected a public key (PEM).",
                remedy="give the file that ends in .pub; deploykit key pair makes both.",
            ) from None
        curve = getattr(getattr(key, "curve", None), "name", type(key).__name__)
        if curve not in _CURVES:
            raise SettingError(
                f"{file} holds a key of the kind {curve}; signatures of models take {', '.join(_CURVES)}.",
                remedy="make one with deploykit key pair.",
            )
        kinds = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        return cls(key, hashlib.sha256(key.public_bytes(*kinds)).hexdigest(), file)

    def signed(self, content: bytes, signature: bytes) -> bool:
        """Whether the signature of some bytes is by this key."""
        ec = require("cryptography.hazmat.primitives.asymmetric.ec", "protect")
        hashes = require("cryptography.hazmat.primitives.hashes", "protect")
        try:
            self.key.verify(signature, content, ec.ECDSA(getattr(hashes, _CURVES[self.key.curve.name])()))
        except require("cryptography.exceptions", "protect").InvalidSignature:
            return False
        return True


def new_key_pair(path: str | Path) -> tuple[Path, Path]:
    """Make a key pair to sign artifacts with, on the curve P-256.

    Args:
        path: Without an ending: the private key goes to ``PATH.key``, which only you can read, the public one to
            ``PATH.pub``. Neither may be there.

    Returns:
        Both files.

    Raises:
        SettingError: A file is there already, or cannot be written.
        MissingExtraError: The package ``cryptography`` is not installed.

    Example:
        >>> private, public = dk.new_key_pair("exported-by-me")
        >>> public.read_text().splitlines()[0]
        '-----BEGIN PUBLIC KEY-----'
    """
    ec = require("cryptography.hazmat.primitives.asymmetric.ec", "protect")
    s = require("cryptography.hazmat.primitives.serialization", "protect")
    key = ec.generate_private_key(ec.SECP256R1())
    contents = {
        ".key": key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()),
        ".pub": key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo),
    }
    private, public = (Path(f"{Path(path).expanduser()}{ending}") for ending in contents)
    for file in (private, public):
        if file.exists():
            raise SettingError(f"{file} is there already.", remedy="choose another name: keys are not replaced.")
    for file, content in zip((private, public), contents.values(), strict=True):
        try:
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if file == private else 0o644)
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
        except OSError as error:
            raise SettingError(f"Cannot make {file}: {error.strerror}.", remedy="choose another name.") from error
    return private, public


def sign(folder: Path, private_key: str | Path) -> Path:
    """Sign all files of an artifact; a signature that is there is replaced. Gives its file.

    Raises:
        SettingError: There is no private key on a NIST curve in the file, or others may read it.
        ExportError: The folder holds a link, or cannot be written.
        MissingExtraError: The package ``model-signing`` is not installed.
    """
    key = Path(private_key).expanduser()
    signer = _signer(key)
    for name in _files(folder):
        if (folder / name).is_symlink():
            raise ExportError(f"{folder / name} is a link; links are not signed.", remedy="put the file itself there.")
    with tempfile.TemporaryDirectory(prefix="deploykit-") as scratch:
        made = Path(scratch, SIGNATURE)
        signer.sign(folder, made)
        try:
            replace_whole(folder / SIGNATURE, made.read_bytes())
        except OSError as error:
            raise ExportError(
                f"Cannot write {folder / SIGNATURE}: {error.strerror}.", remedy="see its folder."
            ) from error
    (folder / SIGNATURE).chmod(0o644)
    return folder / SIGNATURE


def check_private_key(private_key: str | Path) -> None:
    """Raise what `sign` would raise of a key, before there is anything to sign."""
    _signer(Path(private_key).expanduser())


def _signer(key: Path) -> Any:
    require("OpenSSL", "sign")  # which model-signing imports and does not require
    hashing, signing = require("model_signing.hashing", "sign"), require("model_signing.signing", "sign")
    content = read_small(key, _MOST_KEY_BYTES, "the private key", SettingError)
    remedy = "give the file that ends in .key; deploykit key pair makes both."
    if b"PUBLIC KEY" in content:
        raise SettingError(f"{key} holds a public key; expected the private one.", remedy=remedy)
    if os.name == "posix" and stat.S_IMODE(key.stat().st_mode) & 0o077:
        raise SettingError(f"Other users may read or write the private key {key}.", remedy=f"chmod 600 {key}")
    chosen = hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)
    try:
        return signing.Config().use_elliptic_key_signer(private_key=key).set_hashing_config(chosen)
    except (ValueError, TypeError) as error:
        said = " ".join(str(error).split())[:200]
        raise SettingError(f"{key} holds no key that can sign: {said}", remedy=remedy) from None


def check_signature(folder: Path, key: PublicKey, manifest: tuple[str, str]) -> None:
    """Check that an artifact is signed by a key, and is as it was then.

    Args:
        folder: The artifact's folder.
        key: The key that must have signed it.
        manifest: The name of its manifest and the SHA-256 of what was read from it.

    Raises:
        ExportError: It is not signed, is signed with another key, or a file was changed, added or removed.
    """
    signed = _signed(folder / SIGNATURE, key)
    there = _files(folder)
    if links := [n for n in there if (folder / n).is_symlink() or not (folder / n).is_file()]:
        raise _altered(folder, f"{_few(links)} {'are' if len(links) > 1 else 'is'} not a regular file")
    if new := [name for name in there if name not in signed]:
        raise _altered(folder, f"{_few(new)} {'were' if len(new) > 1 else 'was'} not there when it was signed")
    if gone := sorted(signed.keys() - set(there)):
        raise _altered(folder, f"{_few(gone)} {'are' if len(gone) > 1 else 'is'} missing")
    changed = [name for name, digest in signed.items() if file_digest(folder / name) != digest]
    if signed.get(manifest[0]) != manifest[1]:
        changed.append(manifest[0])
    if changed:
        names = sorted(set(changed))
        raise _altered(folder, f"{_few(names)} {'have' if len(names) > 1 else 'has'} changed since it was signed")


def _signed(file: Path, key: PublicKey) -> Mapping[str, str]:
    """SHA-256 of the files that a signature is of, by relative path."""
    folder = file.parent
    if not os.path.lexists(file):
        raise ExportError(
            f"{folder} is not signed, and a signature by {key.path.name} is required.",
            remedy="sign it with deploykit sign, or get it from who exported it.",
        )
    if file.is_symlink():
        raise _altered(folder, f"{SIGNATURE} is a link")
    content = read_small(file, _MOST_SIGNATURE_BYTES, "the signature", ExportError)
    try:
        bundle = parse(content)
        if bundle["mediaType"] != _BUNDLE:
            raise ValueError(f"it is of the kind {bundle['mediaType']!r}")
        envelope = bundle["dsseEnvelope"]
        if envelope["payloadType"] != _PAYLOAD or len(envelope["signatures"]) != 1:
            raise ValueError("it does not hold one signature of an in-toto statement")
        payload = base64.b64decode(envelope["payload"], validate=True)
        made = base64.b64decode(envelope["signatures"][0]["sig"], validate=True)
        material = bundle["verificationMaterial"]
        named = str(material["publicKey"]["hint"]) if "publicKey" in material else "of a certificate"
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, binascii.Error) as error:
        raise ExportError(
            f"{file} is not a signature of model-signing: {error}.", remedy="sign it again with deploykit sign."
        ) from error
    # "Pre-authentication encoding" of DSSE 1.0.
    encoded = b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD), _PAYLOAD.encode(), len(payload), payload)
    if not key.signed(encoded, made):
        other = f"It names the key {named[:16]}; {key.path.name} is {key.id[:16]}." if named != key.id else ""
        why = "is signed with another key" if other else "has a signature that was altered"
        raise ExportError(f"{folder} {why}. {other}".strip(), remedy="get it from who exported it, or give their key.")
    try:
        return _resources(parse(payload))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ExportError(
            f"{file} is signed by {key.path.name}, but not as an artifact is: {error}.",
            remedy="sign it with deploykit sign.",
        ) from error


def _resources(statement: Any) -> dict[str, str]:
    """The digests of a statement that leaves nothing out."""
    if (statement["_type"], statement["predicateType"]) != (_STATEMENT, _PREDICATE):
        raise ValueError(f"it states {str(statement['predicateType'])[:80]!r}")
    how, found = statement["predicate"]["serialization"], statement["predicate"]["resources"]
    if (how["method"], how["hash_type"], how["allow_symlinks"]) != ("files", "sha256", False):
        raise ValueError("its digests are not SHA-256 of whole files, or it allows links")
    if others := set(how.get("ignore_paths", ())) - {SIGNATURE}:
        raise ValueError(f"it leaves out {_few(sorted(map(str, others)))}")
    digests = {str(one["name"]): str(one["digest"]) for one in found if one["algorithm"] == "sha256"}
    if len(digests) != len(found):
        raise ValueError("a file is in it twice, or has no SHA-256")
    return digests


def _files(folder: Path) -> list[str]:
    """Relative paths of everything but folders and the signature itself; links are not followed."""

    def below(place: Path) -> Iterator[str]:
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from below(Path(entry.path))
                else:
                    yield Path(entry.path).relative_to(folder).as_posix()

    return sorted(name for name in below(folder) if name != SIGNATURE)


def _altered(folder: Path, what: str) -> ExportError:
    return ExportError(f"{folder} is not as it was signed: {what}.", remedy="get it again from who exported it.")


def _few(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")
