"""Full disks are recognized by what libraries really say, and private files are private."""

import errno
import json
import os
import stat
import subprocess
import sys

import pytest

from deploykit.core.errors import CandidateError, StoreError
from deploykit.storage.disk import full, is_full, make_private, private_folder, writing

#: Fills a file system of 2 MB with each library, and prints what `is_full` makes of its error.
_FILL = """
import json, sqlite3, sys, warnings
from pathlib import Path
import h5py, numpy as np, onnx
from onnx import helper, numpy_helper
from deploykit.storage.disk import is_full
warnings.simplefilter("ignore")
folder = Path(sys.argv[1])
big = np.zeros(4 << 20, np.uint8)
def sqlite():
    with sqlite3.connect(folder / "x.sqlite") as db:
        db.execute("create table t (x)")
        db.execute("insert into t values (?)", (big.tobytes(),))
def onnx_file():
    graph = helper.make_graph([], "g", [], [], [numpy_helper.from_array(big, "w")])
    onnx.save(helper.make_model(graph), folder / "x.onnx")
def hdf5():
    with h5py.File(folder / "x.h5", "w") as file:
        file["x"] = big
found = {}
for name, write in {
    "npy": lambda: np.save(folder / "x.npy", big),
    "npz": lambda: np.savez(folder / "x.npz", big),
    "bytes": lambda: (folder / "x.bin").write_bytes(big.tobytes()),
    "sqlite": sqlite, "onnx": onnx_file, "hdf5": hdf5,
}.items():
    try:
        write()
        found[name] = "written"
    except Exception as error:
        found[name] = is_full(error) or f"{type(error).__name__}: {error}"
    for file in folder.iterdir():
        file.unlink()
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="makes a small file system")
def test_what_libraries_say_of_a_full_disk(tmp_path):
    shell = f'mount -t tmpfs -o size=2m none "{tmp_path}" && exec "$@"'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", shell, "sh", sys.executable, "-c", _FILL]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == dict.fromkeys(("npy", "npz", "bytes", "sqlite", "onnx", "hdf5"), True)


def test_causes_are_looked_at():
    wrapped = CandidateError("the model cannot be saved.")
    wrapped.__cause__ = OSError("80448 requested and 9184 written")
    assert is_full(wrapped)
    assert not is_full(OSError(errno.EACCES, "permission denied"))
    assert not is_full(ValueError("the set is full of surprises"))


def test_only_a_full_disk_becomes_a_store_error(tmp_path):
    said = r"disk of the folder .* is full: 80448 requested.*Remedy: free some space"
    with pytest.raises(StoreError, match=said), writing(tmp_path):
        raise OSError("80448 requested and 9184 written")
    with pytest.raises(PermissionError), writing(tmp_path):
        raise PermissionError(errno.EACCES, "permission denied")
    assert "the store s is full" in str(full("the store s"))


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_private_files_and_folders(tmp_path):
    folder = tmp_path / "open"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "x").write_text("x")
    folder.chmod(0o755)
    make_private(folder)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (folder, folder / "deep", folder / "deep" / "x")}
    assert modes == {"open": 0o700, "deep": 0o700, "x": 0o600}
    private_folder(tmp_path / "new")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
