"""What a worker reads where it lies: below its shared folders, when it is the same, and as long as it stays so."""

import os
import shutil

import pytest

from deploykit.core.errors import EngineError
from deploykit.engines._borrowed import Borrowed, listed
from deploykit.engines._files import describe, files_of


def folder(path, **files):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content)
    return path


def digest(path):
    return describe(path, files_of(path)).digest


def test_the_same_files_are_read_in_place(tmp_path):
    data = folder(tmp_path / "disk" / "data", a="1", b="2")
    borrowed = Borrowed(listed([str(tmp_path / "disk")]))
    assert borrowed.place(digest(data)) is None
    assert borrowed.take(str(data), digest(data))
    assert borrowed.place(digest(data)) == data


def test_drivers_may_reach_the_disk_by_another_path(tmp_path):
    data = folder(tmp_path / "disk" / "data", a="1")
    borrowed = Borrowed(listed([f"/far/away={tmp_path / 'disk'}"]))
    assert borrowed.take("/far/away/data", digest(data))
    assert borrowed.place(digest(data)) == data
    assert not borrowed.take("/far/awaydata", digest(data))
    assert not borrowed.take(str(data), digest(data))


def test_other_files_and_other_folders_are_sent(tmp_path):
    data = folder(tmp_path / "disk" / "data", a="1")
    apart = folder(tmp_path / "apart", a="1")
    borrowed = Borrowed(listed([str(tmp_path / "disk")]))
    assert not borrowed.take(str(apart), digest(apart))
    assert not borrowed.take(str(data), digest(folder(tmp_path / "other", a="2")))
    assert not borrowed.take(str(tmp_path / "disk" / "gone"), digest(data))
    (tmp_path / "disk" / "link").symlink_to(apart)
    assert not borrowed.take(str(tmp_path / "disk" / "link"), digest(apart))
    assert not borrowed.take(f"{tmp_path}/disk/../apart", digest(apart))
    assert not Borrowed("").take(str(data), digest(data))


@pytest.mark.parametrize("change", ["content", "more", "gone"])
def test_what_changes_is_read_in_place_no_longer(tmp_path, change):
    data = folder(tmp_path / "data", a="1")
    before = digest(data)
    borrowed = Borrowed(listed([str(tmp_path)]))
    assert borrowed.take(str(data), before)
    if change == "content":
        (data / "a").write_text("3")
        os.utime(data / "a", ns=(1, 1))
    elif change == "more":
        (data / "b").write_text("1")
    else:
        shutil.rmtree(data)
    assert borrowed.place(before) is None
    assert not borrowed.take(str(data), before)


def test_a_shared_folder_must_be_there(tmp_path):
    with pytest.raises(EngineError, match=r"The shared folder '.*gone' is not a folder of this machine.*--shared"):
        listed([str(tmp_path / "gone")])
