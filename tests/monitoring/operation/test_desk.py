"""Alarms: raised once, ended once, kept over a restart, sent to a webhook, and never in the way."""

import json
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from deploykit.core.errors import SettingError, StoreError
from deploykit.monitoring.operation.book import FILE, Book
from deploykit.monitoring.operation.desk import Desk, Finding, checked_webhook

KEY = ("drift", "digits", "1", "")


def test_an_alarm_is_told_when_it_begins_and_when_it_is_over():
    desk, told = Desk(Book()), []
    desk.on_alarm(told.append)
    desk.settle(KEY, None, 1.0)
    desk.settle(KEY, Finding("It moved.", 1.5), 2.0)
    desk.settle(KEY, Finding("It moved more.", 1.7, share=0.5), 3.0)
    assert [(a.since, a.raised, a.text, a.share) for a in desk.ongoing] == [(1.5, 2.0, "It moved more.", 0.5)]
    desk.settle(KEY, None, 4.0)
    assert [(a.text, a.ended) for a in told] == [("It moved.", None), ("It moved more.", 4.0)]
    assert (desk.ongoing, [a.ended for a in desk.past]) == ([], [4.0])


def test_what_lasts_lasts_over_a_restart(tmp_path):
    desk = Desk(book := Book(tmp_path))
    desk.settle(KEY, Finding("It moved.", 1.5), 2.0)
    book.close()
    told = []
    again = Desk(Book(tmp_path))
    again.on_alarm(told.append)
    again.settle(KEY, Finding("It moved.", 9.0), 10.0)
    assert [(a.since, a.raised) for a in again.ongoing] == [(1.5, 2.0)]
    assert told == []
    again.drop("digits", {"2"}, 11.0)
    assert [a.ended for a in told] == [11.0]


def test_a_callback_that_fails_does_no_harm(caplog):
    desk, told = Desk(Book()), []
    desk.on_alarm(lambda alarm: 1 / 0)
    desk.on_alarm(told.append)
    desk.settle(KEY, Finding("It moved.", 1.5), 2.0)
    assert len(told) == 1
    assert "ZeroDivisionError" in caplog.text


def test_a_webhook_gets_the_alarm_as_json():
    got, there = [], threading.Event()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            there.set()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        desk = Desk(Book(), f"http://127.0.0.1:{server.server_port}/alarms")
        desk.settle(KEY, Finding("It moved.", 1.5, share=0.25), 2.0)
        assert there.wait(30)
    assert (got[0]["kind"], got[0]["model"], got[0]["share"]) == ("drift", "digits", 0.25)
    assert "It moved." in got[0]["message"]


def test_a_webhook_is_an_address_of_http():
    assert checked_webhook("") == ""
    with pytest.raises(SettingError, match="file:///etc/passwd"):
        checked_webhook("file:///etc/passwd")


def test_predictions_wait_for_their_labels_once(tmp_path):
    book = Book(tmp_path)
    book.predicted("digits", "2", 6.0, [("a", None, True)])  # of a shadow, which failed
    assert book.take("digits", "a") == []
    book.predicted("digits", "1", 5.0, [("a", [1, 0.5], False), ("b", [2, 0.25], False)])
    assert book.take("digits", "a") == [("1", 5.0, [1, 0.5], False), ("2", 6.0, None, True)]
    assert book.take("digits", "a") == []
    book.close()
    assert Book(tmp_path).waiting == 1


def test_a_file_of_another_kind_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / FILE) as other:
        other.execute("CREATE TABLE songs (name TEXT)")
    other.close()
    with pytest.raises(StoreError, match="cannot use"):
        Book(tmp_path)
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / FILE).write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match="cannot be used"):
        Book(tmp_path / "junk")


def test_a_full_disk_is_a_problem_and_not_an_end(tmp_path):
    book = Book(tmp_path)
    desk, told = Desk(book), []
    desk.on_alarm(told.append)
    book._database.execute("PRAGMA max_page_count=1")  # what SQLite says of it is what it says of a full disk
    for number in range(200):
        desk.settle((*KEY[:3], str(number)), Finding("It moved." * 50, 1.5), 2.0)
    assert len(told) == 200
    assert "free some space" in desk.problems["records"]
