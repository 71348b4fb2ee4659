"""An audit log shows every line that is changed or missing; digests are computed here from their definition."""

import hashlib
import json
import os
import stat
import threading

import pytest

from deploykit.core.errors import AuditError, SettingError
from deploykit.core.security.audit import Audit, verify_audit


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "audit.jsonl"
    audit = Audit(found)
    audit.add({"action": "predict", "token": name, "at": n} for n, name in enumerate("abc"))
    audit.add([{"action": "load", "model": 'm"\n'}])
    audit.close()
    return found


def lines(path):
    return path.read_bytes().splitlines(keepends=True)


def test_each_digest_is_over_the_one_before_and_the_line(path):
    last = "0" * 64
    for number, line in enumerate(lines(path), 1):
        found = json.loads(line)
        assert found["n"] == number
        body = line.decode().replace(f',"sha256":"{found["sha256"]}"', "").rstrip("\n")
        last = hashlib.sha256((last + body).encode()).hexdigest()
        assert found["sha256"] == last
    assert verify_audit(path) == (verified := verify_audit(path, last))
    assert (verified.lines, verified.last) == (4, last)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_it_is_its_owners_alone(path):
    path.chmod(0o644)
    Audit(path).close()
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_it_goes_on_where_it_was_left_by_whichever_process_has_it(path):
    logs = [Audit(path), Audit(path)]

    def write(log):
        for number in range(50):
            log.add([{"number": number}])

    threads = [threading.Thread(target=write, args=(log,)) for log in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verify_audit(path).lines == 104


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found[1:], "Line 1 of the audit log"),
        (lambda found: [*found[:1], *found[2:]], "Line 2 of the audit log"),
        (lambda found: found[:-1], "has 3 lines; audit.jsonl.head says 4: the last 1 are missing"),
        (lambda found: [], "has 0 lines"),
        (lambda found: [found[0].replace(b'"a"', b'"x"'), *found[1:]], "Line 1"),
        (lambda found: [found[1], found[0], *found[2:]], "Line 1"),
        (lambda found: [*found[:2], found[1], *found[2:]], "Line 3"),
        (lambda found: [*found[:3], found[3][:-1]], "Line 4"),
        (lambda found: [*found[:2], b"nonsense\n", *found[2:]], "Line 3"),
        (lambda found: [*found, b"{}\n"], "Line 5"),
    ],
)
def test_whatever_is_done_to_it_shows(path, change, message):
    path.write_bytes(b"".join(change(lines(path))))
    with pytest.raises(AuditError, match=message):
        verify_audit(path)


def test_a_log_that_was_rewritten_with_what_is_beside_it_lacks_the_digest_kept_elsewhere(path, tmp_path):
    kept = verify_audit(path).last
    for file in (path, tmp_path / "audit.jsonl.head"):
        file.unlink()
    other = Audit(path)
    other.add([{"action": "nothing"}])
    other.close()
    assert verify_audit(path).lines == 1
    with pytest.raises(AuditError, match=f"No line of .* has the digest {kept}"):
        verify_audit(path, kept)


def test_lines_that_a_process_wrote_just_before_it_died_are_taken_in(path, tmp_path):
    head = tmp_path / "audit.jsonl.head"
    before = head.read_bytes()
    audit = Audit(path)
    audit.add([{"action": "last words"}])
    head.write_bytes(before)
    assert verify_audit(path).lines == 5
    audit.add([{"action": "first words"}])
    assert verify_audit(path).lines == 6


def test_files_that_cannot_be_one_are_refused(tmp_path, path):
    with pytest.raises(SettingError, match=r"Cannot read .*nothing"):
        verify_audit(tmp_path / "nothing")
    with pytest.raises(SettingError, match="Cannot write the audit log"):
        Audit(tmp_path / "folder" / "audit")
    (tmp_path / "other").write_text("text\n")
    with pytest.raises(SettingError, match=r"is not empty, and other\.head is not beside it"):
        Audit(tmp_path / "other")
    (tmp_path / "audit.jsonl.head").write_text("text\n")
    with pytest.raises(AuditError, match=r"audit\.jsonl\.head is not what belongs to an audit log"):
        verify_audit(path)


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_a_file_that_is_something_else_stays_as_it_was(tmp_path):
    notes = tmp_path / "notes"
    notes.write_text("mine")
    notes.chmod(0o644)
    for path in (notes, tmp_path):
        with pytest.raises(SettingError):
            Audit(path)
    assert [one.name for one in tmp_path.iterdir()] == ["notes"]
    assert notes.stat().st_mode & 0o777 == 0o644
    assert not tmp_path.with_name(f"{tmp_path.name}.lock").exists()
