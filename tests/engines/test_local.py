"""How many tasks run at once on this machine."""

from types import SimpleNamespace

import psutil
import pytest

from deploykit.engines import local
from deploykit.sandbox.groups._contract import GROUPS


@pytest.mark.parametrize(("processes", "slots"), [(0.5, 1), (1.5, 1), (2.5, 2), (50, 3)])
def test_as_many_tasks_as_the_memory_holds_run_at_once(processes, slots, monkeypatch):
    heaviest = GROUPS.get("tensorflow").costs.memory_bytes
    assert GROUPS.get("light").costs.memory_bytes < heaviest
    monkeypatch.setattr(local.os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=int(processes * heaviest)))
    assert local.slots() == slots
