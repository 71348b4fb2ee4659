import stat
import zipfile

import pytest

from deploykit.core.errors import ModelFileError
from deploykit.readers import archive as zips
from deploykit.sandbox import gate


def refused(path, *parts):
    with pytest.raises(ModelFileError) as caught:
        gate.check(path)
    text = str(caught.value)
    assert caught.value.remedy
    for part in parts:
        assert part in text, text
    return text


def write(path, data):
    path.write_bytes(data)
    return path


def archive(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


def test_a_truncated_archive(tmp_path):
    path = archive(tmp_path / "m.keras", [("config.json", b"{}" * 1000)])
    whole = path.read_bytes()
    for keep in (len(whole) - 1, len(whole) // 2, 10):
        refused(write(path, whole[:keep]), f"truncated: it has {keep} bytes")


def test_an_archive_without_members(tmp_path):
    refused(archive(tmp_path / "m.keras", []), "an empty zip archive")


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    path = archive(tmp_path / "m.keras", [("config.json", b"{}"), ("model.weights.h5", bytes(1 << 28))])
    refused(path, "m.keras: a zip bomb", "unpack to 268,435,458")


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "..\\evil", "C:evil"])
def test_a_zip_slip(tmp_path, name):
    path = archive(tmp_path / "m.keras", [("config.json", b"{}"), (name, b"x")])
    refused(path, "m.keras: the archive's member", "(a zip slip)")
    assert not (tmp_path.parent / "evil").exists()


def test_two_members_of_one_name(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = archive(tmp_path / "m.keras", [("config.json", b"{}"), ("config.json", b"[]")])
    refused(path, "two members called 'config.json'")


def test_links_and_encryption_in_archives(tmp_path):
    link = zipfile.ZipInfo("model.weights.h5")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as file:
        file.writestr(link, "/etc/passwd")
    refused(tmp_path / "m.keras", "is a link")
    path = archive(tmp_path / "e.keras", [("config.json", b"{}")], zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    refused(write(path, bytes(data)), "is encrypted")


def test_too_many_members_are_not_even_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(zips, "MAX_MEMBERS", 10)
    path = archive(tmp_path / "m.keras", [(f"assets/{i}", b"x") for i in range(11)])
    monkeypatch.setattr(zipfile, "ZipFile", None)  # its directory must not be read
    refused(path, "11 members", "limits 10")


def test_a_damaged_archive(tmp_path):
    path = archive(tmp_path / "m.keras", [("config.json", b"{}")])
    data = path.read_bytes()
    refused(write(path, data.replace(b"PK\x01\x02", b"XX\x01\x02")), "a damaged zip archive")


def test_json_is_bounded():
    zips.check_json(b'{"a": ["[[[[\\"", {}]}', "config.json")
    with pytest.raises(ModelFileError, match=r"m: JSON nested deeper than 256 levels"):
        zips.check_json(b"[" * 257 + b"]" * 257, "m")
    zips.check_json(b"[" * 256 + b"]" * 256, "m")
    with pytest.raises(ModelFileError, match=r"bytes of JSON"):
        zips.check_json(b" " * (zips.MAX_JSON_BYTES + 1), "m")
