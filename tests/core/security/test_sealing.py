"""Sealed files: only what was sealed comes out, and with the right key alone."""

import io
import struct

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from deploykit.core.errors import ExportError
from deploykit.core.security import sealing
from deploykit.core.security.keys import Key
from deploykit.core.security.sealing import seal, unseal

KEY = Key(bytes(range(32)))
NAME = "model.onnx"
CHUNK = 64
HEAD = 8 + 2 + 4 + 8 + 8 + 32 + 7 + len(NAME) + 60


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(sealing, "CHUNK_BYTES", CHUNK)


@pytest.fixture
def sealed(tmp_path):
    def make(content, name=NAME, key=KEY):
        path = tmp_path / f"sealed-{name}"
        seal(io.BytesIO(content), len(content), path, name, key)
        return path

    return make


CONTENT = bytes(i % 251 for i in range(3 * CHUNK + 5))


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 5])
def test_what_goes_in_comes_out(sealed, size):
    path = sealed(CONTENT[:size])
    assert unseal(path, NAME, KEY) == CONTENT[:size]
    assert path.stat().st_size == HEAD + size + 16 * max(1, -(-size // CHUNK))


def test_it_is_what_its_layout_says(sealed):
    """Decrypted step by step with the cryptography package, from the layout in the module's documentation."""
    raw = sealed(CONTENT).read_bytes()
    assert raw[:8] == b"DKSEAL1\n"
    length, chunk, size = struct.unpack_from("<HIQ", raw, 8)
    assert (length, chunk, size) == (len(NAME), CHUNK, len(CONTENT))
    salt, prefix = raw[30:62], raw[62:69]
    plain, wrapped, body = raw[: 69 + length], raw[69 + length : HEAD], raw[HEAD:]

    def derived(secret, salt):
        return AESGCM(HKDF(hashes.SHA256(), 32, salt, b"deploykit/sealed-file/1").derive(secret))

    data_key = derived(KEY.secret, b"wrap").decrypt(wrapped[:12], wrapped[12:], plain)
    cipher, found = derived(data_key, salt), b""
    for number in range(4):
        piece = body[number * (CHUNK + 16) : (number + 1) * (CHUNK + 16)]
        found += cipher.decrypt(prefix + struct.pack(">IB", number, number == 3), piece, plain + wrapped)
    assert found == CONTENT


def test_nothing_is_sealed_the_same_way_twice(sealed):
    first, second = sealed(CONTENT).read_bytes(), sealed(CONTENT).read_bytes()
    assert first[:30] == second[:30]
    assert first[HEAD:] != second[HEAD:]
    for start in range(0, len(CONTENT) - 8, 8):
        assert CONTENT[start : start + 8] not in first


def flip(place):
    def change(raw):
        raw[place] ^= 1
        return raw

    return change


def resized(raw):
    return raw[:14] + struct.pack("<Q", 2 * CHUNK) + raw[22:]


def resized_and_cut(raw):
    return resized(raw)[: HEAD + 2 * (CHUNK + 16)]


def swapped(raw):
    one, two = HEAD + CHUNK + 16, HEAD + 2 * (CHUNK + 16)
    return raw[:HEAD] + raw[one:two] + raw[HEAD:one] + raw[two:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (flip(HEAD + 5), "bytes 0 to 64 of its content are not as they were written"),
        (flip(-1), "bytes 192 to 197 of its content"),
        (flip(0), "is not encrypted, and its artifact says that it is"),
        (flip(HEAD - 1), "start of .* has been changed: its name, its size or its key"),
        (flip(40), "start of .* has been changed"),
        (flip(65), "start of .* has been changed"),
        (flip(70), "start of .* has been changed"),
        (lambda raw: raw[: HEAD + 2 * (CHUNK + 16)], "has been cut off: it has 299 bytes and says that it has 400"),
        (lambda raw: raw[:40], "is not encrypted"),
        (lambda raw: raw[:-1], "has been cut off"),
        (swapped, "bytes 0 to 64 of its content"),
        (resized, "appended to, or its size was forged"),
        (resized_and_cut, "start of .* has been changed"),
        (lambda raw: raw + b"x", "appended to"),
        (lambda raw: raw[:10] + struct.pack("<I", 1 << 30) + raw[14:], "start of .* is damaged"),
        (lambda raw: raw[:14] + struct.pack("<Q", 1 << 60) + raw[22:], "start of .* is damaged"),
    ],
)
def test_what_was_changed_is_refused(sealed, change, message):
    path = sealed(CONTENT)
    path.write_bytes(change(bytearray(path.read_bytes())))
    with pytest.raises(ExportError, match=message):
        unseal(path, NAME, KEY)


def test_another_key_is_named(sealed):
    other = Key(bytes(32))
    with pytest.raises(ExportError, match=f"encrypted with the key {KEY.id}; the key given is {other.id}"):
        unseal(sealed(CONTENT), NAME, other)


def test_one_file_does_not_stand_for_another(sealed):
    with pytest.raises(ExportError, match=r"is another file of an artifact, 'golden\.npz'"):
        unseal(sealed(CONTENT, "golden.npz"), NAME, KEY)


def test_a_chunk_of_another_file_of_the_same_key_is_refused(sealed):
    path = sealed(CONTENT)
    first = path.read_bytes()
    second = sealed(CONTENT[::-1]).read_bytes()
    path.write_bytes(first[: HEAD + CHUNK + 16] + second[HEAD + CHUNK + 16 :])
    with pytest.raises(ExportError, match="bytes 64 to 128 of its content"):
        unseal(path, NAME, KEY)


@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1])
def test_a_source_that_changes_meanwhile_is_refused(tmp_path, size):
    with pytest.raises(ExportError, match="has changed while it was encrypted"):
        seal(io.BytesIO(CONTENT), size, tmp_path / "sealed", NAME, KEY)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(ExportError, match=r"Cannot read .*missing: No such file"):
        unseal(tmp_path / "missing", NAME, KEY)
