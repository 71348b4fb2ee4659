"""``deploykit key``, and the verbs that take the place of a key."""

import json
import os
import stat

import pytest

from deploykit.core.security.keys import read_key


def test_a_new_key_is_printed_or_written_for_you_alone(cli, tmp_path, monkeypatch):
    status, out, err = cli("key", "new", "--json")
    assert (status, err) == (0, "")
    monkeypatch.setenv("PRINTED", json.loads(out)["key"])
    assert read_key("env:PRINTED").id == json.loads(out)["id"]
    file = tmp_path / "shoes.key"
    status, out, _ = cli("key", "new", file)
    assert status == 0
    assert out.strip() == f"{file} holds the new key {read_key(f'file:{file}').id}"
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_bytes()
    status, _, err = cli("key", "new", file)
    assert status == 1
    assert "File exists" in err
    assert file.read_bytes() == before
    assert cli("key", "id", f"file:{file}")[1].strip() == read_key(f"file:{file}").id
    assert cli("key", "id")[0] == 2


def test_an_export_is_encrypted_and_verified_with_it(cli, store, tmp_path):
    pytest.importorskip("cryptography")
    file, out = tmp_path / "shoes.key", tmp_path / "served"
    cli("key", "new", file)
    status, text, err = cli("export", store, "--out", out, "--encrypt", f"file:{file}", "--json")
    assert status == 0, err
    assert json.loads(text)["manifest"]["encryption"]["key"] == read_key(f"file:{file}").id
    assert cli("verify", out, "--key", f"file:{file}")[0] == 0
    status, _, err = cli("verify", out)
    assert status == 1
    assert "no key was given. Remedy: say where it is: key='env:NAME' (--key env:NAME)" in err


def test_an_artifact_is_signed_and_its_signature_required(cli, store, tmp_path):
    pytest.importorskip("model_signing")
    pair, out = tmp_path / "ours", tmp_path / "served"
    assert cli("key", "pair", pair, "--json")[0] == 0
    assert cli("export", store, "--out", out)[0] == 0
    status, _, err = cli("verify", out, "--require-signature", f"{pair}.pub")
    assert status == 1
    status, text, err = cli("sign", out, "--key", f"{pair}.key", "--json")
    assert (status, json.loads(text)["signature"]) == (0, str(out / "model.sig")), err
    assert cli("verify", out, "--require-signature", f"{pair}.pub")[0] == 0
