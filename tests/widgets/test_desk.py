import threading

import pytest
from deploykit_widgets.desk import Desk


@pytest.fixture
def told():
    return []


@pytest.fixture
def desk(told):
    desk = Desk(told.append)
    yield desk
    desk.close()


def test_notes_are_done_in_order_on_one_thread(desk):
    done = []
    for number in range(20):
        desk.post(lambda number=number: done.append((number, threading.current_thread())))
    assert desk.settle()
    assert [n for n, _ in done] == list(range(20))
    assert {t for _, t in done} == {desk._thread}


def test_the_latest_work_of_a_key_replaces_the_one_that_waits(desk):
    done, gate = [], threading.Event()
    desk.post(gate.wait)  # keeps the desk busy while the notes below pile up
    for number in range(5):
        desk.at_most_every(60, "progress", lambda number=number: done.append(("progress", number)))
    gate.set()
    assert desk.settle()
    assert done == [("progress", 4)]


def test_at_most_every_does_the_first_at_once_and_holds_the_second_back(desk):
    first, done = threading.Event(), []
    desk.at_most_every(3600, "results", first.set)
    assert first.wait(30)
    desk.at_most_every(3600, "results", lambda: done.append(1))
    ready = threading.Event()
    desk.post(ready.set)
    assert ready.wait(30)
    assert done == []  # a note that came later overtook it
    assert desk.settle()
    assert done == [1]


def test_what_takes_long_leaves_time_for_the_rest(desk):
    first, done = threading.Event(), []
    desk._took["results"] = 3600.0  # the last time
    desk.at_most_every(0, "results", first.set)
    assert first.wait(30)
    desk.settle()
    desk._took["results"] = 3600.0
    desk.at_most_every(0, "results", lambda: done.append(1))
    ready = threading.Event()
    desk.post(ready.set)
    assert ready.wait(30)
    assert done == []
    assert desk.settle()
    assert done == [1]
    assert desk._took["results"] < 3600


def test_long_work_runs_elsewhere_and_comes_back(desk):
    threads, found = [], []

    def work():
        threads.append(threading.current_thread())
        return 7

    desk.run("work", work, lambda value: found.append((value, desk.here)), found.append)
    assert desk.settle()
    assert found == [(7, True)]
    assert threads[0] is not desk._thread


def test_a_failure_comes_back_too(desk):
    found = []
    desk.run("work", lambda: 1 / 0, found.append, lambda error: found.append(type(error)))
    assert desk.settle()
    assert found == [ZeroDivisionError]


def test_the_desk_lives_on_after_an_error_even_of_the_one_who_is_told(told):
    def tell(error):
        told.append(error)
        raise RuntimeError("the panel is broken too")

    desk = Desk(tell)
    try:
        done = []
        desk.post(lambda: {}["nothing"])
        desk.post(lambda: done.append(1))
        assert desk.settle()
        assert [type(e) for e in told] == [KeyError]
        assert done == [1]
    finally:
        desk.close()


def test_a_closed_desk_takes_no_notes_and_has_no_thread(desk):
    desk.close()
    desk.post(lambda: pytest.fail("done after the end"))
    assert not desk._thread.is_alive()
    assert desk.settle()
