"""The row of an update is read and written by several processes at once."""

import subprocess
import sys

from deploykit.updating.row import UpdateRow, UpdateState

_ROWS, _WRITES = 200, 3
_WRITER = """
import sys
from pathlib import Path
from deploykit.updating.row import UpdateRow, UpdateState
for place in range(int(sys.argv[2])):
    for run in range(1, int(sys.argv[3]) + 1):
        UpdateRow(Path(sys.argv[1], str(place))).write(UpdateState("candidate", run))
"""


def test_whoever_reads_neither_fails_nor_stops_the_one_who_writes(tmp_path):
    """Also while the file is new: both then find that it has no form yet."""
    rows = []
    for place in range(_ROWS):
        (tmp_path / str(place)).mkdir()
        rows.append(UpdateRow(tmp_path / str(place)))
    assert rows[0].read() == UpdateState()
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path), str(_ROWS), str(_WRITES)])
    for row in rows:
        seen = [0]
        while seen[-1] < _WRITES and writer.poll() is None:
            seen.append(row.read().run)
        assert seen == sorted(seen)  # none is half written, or lost
    assert writer.wait() == 0
    assert all(row.read() == UpdateState("candidate", _WRITES) for row in rows)
