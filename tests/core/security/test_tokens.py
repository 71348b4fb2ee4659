"""Tokens and the file that holds them."""

import json
import os
import stat

import pytest

from deploykit.core.errors import SettingError
from deploykit.core.security.tokens import Token, Tokens

TOKEN = Token("one", "0" * 64)


def test_a_file_holds_tokens_without_their_secrets(tmp_path):
    path, tokens = tmp_path / "tokens.json", Tokens()
    secret = tokens.add("ci", scopes=("predict", "metrics"), per_second=2.5, outputs="top-3")
    other = tokens.add("web")
    tokens.save(path)
    assert len(secret) > 40
    assert secret not in path.read_text()
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = Tokens.open(path)
    assert found.find(secret.encode()) == tokens.by_name["ci"]
    assert found.find(other.encode()).name == "web"
    for wrong in (b"", b"x", secret.encode() + b"x", secret.encode()[:-1]):
        assert found.find(wrong) is None
    found.remove("ci")
    assert found.find(secret.encode()) is None
    with pytest.raises(SettingError, match="'web'"):
        found.add("web")
    with pytest.raises(SettingError, match="token 'ci'"):
        found.remove("ci")


GOOD = TOKEN.to_json()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "holds no tokens"),
        ({"version": 2, "tokens": []}, "version 1"),
        ({"version": 1, "tokens": {}}, "list of tokens"),
        ({"version": 1, "tokens": [GOOD, GOOD]}, "two tokens of one name"),
        ({"version": 1, "tokens": [{**GOOD, "scope": "admin"}]}, "'scope'"),
        ({"version": 1, "tokens": [{**GOOD, "scopes": ["root"]}]}, "'root'"),
        ({"version": 1, "tokens": [{**GOOD, "scopes": []}]}, "no scope"),
        ({"version": 1, "tokens": [{**GOOD, "digest": "ff"}]}, "SHA-256"),
        ({"version": 1, "tokens": [{**GOOD, "name": "a b"}]}, "letters, digits"),
        ({"version": 1, "tokens": [{**GOOD, "per_second": -1}]}, "per_second"),
        ({"version": 1, "tokens": [{**GOOD, "per_day": 1.5}]}, "per_day"),
        ({"version": 1, "tokens": [{**GOOD, "at_once": True}]}, "at_once"),
        ({"version": 1, "tokens": [{**GOOD, "outputs": "top"}]}, "top-N"),
        ({"version": 1, "tokens": [{**GOOD, "outputs": "top-0"}]}, "top-N"),
        ({"version": 1, "tokens": [{**GOOD, "outputs": "rounded-400"}]}, "rounded-N"),
        ({"version": 1, "tokens": [{**GOOD, "outputs": 3}]}, "outputs must be text"),
        ({"version": 1, "tokens": ["x"]}, "name and a digest"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, content, message):
    path = tmp_path / "tokens.json"
    path.touch(0o600)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(SettingError, match=message):
        Tokens.open(path)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_file_that_others_may_write_is_refused(tmp_path):
    path = tmp_path / "tokens.json"
    Tokens([TOKEN]).save(path)
    path.chmod(0o620)
    with pytest.raises(SettingError, match="chmod 600"):
        Tokens.open(path)
