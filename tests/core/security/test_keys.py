"""Where keys are found; and none is ever shown."""

import base64
import os
import stat
import sys

import pytest

from deploykit.core.errors import MissingExtraError, SettingError
from deploykit.core.security import keys
from deploykit.core.security.keys import Key, new_key, read_key

SECRET = bytes(range(32))
TEXT = base64.b64encode(b"\xfb\xff" + SECRET[2:]).decode()


def test_a_new_key_is_32_random_bytes():
    first, second = new_key(), new_key()
    assert first != second
    assert len(base64.urlsafe_b64decode(first)) == 32


def test_it_is_found_at_every_place(tmp_path, monkeypatch):
    file = tmp_path / "key"
    file.write_text(f"{TEXT}\n")
    file.chmod(0o600)
    monkeypatch.setenv("SOME_KEY", TEXT)
    found = [read_key(p) for p in ("env:SOME_KEY", f"file:{file}", f'cmd:"{sys.executable}" -c "print(\'{TEXT}\')"')]
    assert {key.secret for key in found} == {b"\xfb\xff" + SECRET[2:]}
    assert read_key("env:SOME_KEY").text == TEXT.replace("+", "-").replace("/", "_")


def test_a_keyring_is_asked(monkeypatch):
    keyring = pytest.importorskip("keyring")

    class Ring(keyring.backend.KeyringBackend):
        priority = 1

        def get_password(self, service, name):
            return TEXT if (service, name) == ("deploykit", "shoes") else None

        def set_password(self, service, name, password):
            raise NotImplementedError

        def delete_password(self, service, name):
            raise NotImplementedError

    monkeypatch.setattr(keyring.core, "_keyring_backend", Ring())
    assert read_key("keyring:shoes").secret == b"\xfb\xff" + SECRET[2:]
    with pytest.raises(
        SettingError, match=r"no key 'boots' of the service 'deploykit'\. Remedy: keyring set deploykit"
    ):
        read_key("keyring:boots")


def test_without_its_package_a_keyring_is_not_asked(monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'deploykit\[keyring\]'"):
        read_key("keyring:shoes")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (TEXT, r"must be env:NAME, file:PATH, keyring:NAME or cmd:.*got 44 characters that begin with none of them"),
        ("env:", "must be env:NAME"),
        ("env:NO_SUCH_KEY", "NO_SUCH_KEY is not set, or empty"),
        ("file:/no/such/key", "Cannot read the key '/no/such/key'"),
        ("cmd:/no/such/program", "'/no/such/program' cannot be run: No such file"),
        (f'cmd:"{sys.executable}" -c "raise SystemExit(3)"', r"ended with 3\."),
        (
            f'cmd:"{sys.executable}" -c "print(7)"',
            r"holds no key: expected 32 bytes as base64 \(44 characters\), got 1 ",
        ),
    ],
)
def test_what_is_not_there_gives_one_clear_error(place, message):
    with pytest.raises(SettingError, match=message) as caught:
        read_key(place)
    assert TEXT not in str(caught.value)


def test_a_command_that_never_ends_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(keys, "_COMMAND_S", 0.01)
    with pytest.raises(SettingError, match=r"it took more than 0\.01 s"):
        read_key(f'cmd:"{sys.executable}" -c "import threading; threading.Event().wait()"')


@pytest.mark.skipif(os.name != "posix", reason="Windows has other permissions")
def test_a_file_that_others_may_read_is_refused(tmp_path):
    file = tmp_path / "key"
    file.write_text(TEXT)
    file.chmod(stat.S_IRUSR | stat.S_IRGRP)
    with pytest.raises(SettingError, match=r"Other users may read or write the key in .*Remedy: chmod 600"):
        read_key(f"file:{file}")


def test_no_message_and_no_picture_of_a_key_holds_it(monkeypatch):
    monkeypatch.setenv("SOME_KEY", TEXT[:-1] + "!")
    with pytest.raises(SettingError, match="env:SOME_KEY holds no key") as caught:
        read_key("env:SOME_KEY")
    assert TEXT[:8] not in str(caught.value)
    key = Key(SECRET, "env:SOME_KEY")
    for shown in (repr(key), str(key), key.id):
        assert SECRET.hex()[:8] not in shown
        assert key.text[:8] not in shown
    assert len(key.id) == 16
    assert key.id != Key(SECRET[::-1]).id
