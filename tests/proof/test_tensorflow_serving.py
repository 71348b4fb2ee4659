"""TensorFlow Serving's own tests of its server, against ours: ``make proof TF_SERVING=CHECKOUT``.

Nothing of them is copied: they are read from a checkout of its public repository.
"""

import os
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

#: Tests that need what only its C++ server has; docs/how-to/model-server.md says the same.
EXPECTED = {
    "test_profiler_service_with_valid_trace_request": "TensorFlow's profiler service is part of its C++ server.",
    # With TensorFlow 2.21 it does not get that far: it ends at a name that is gone (flags.os).
    "test_tf_text": "TF Text's operators are linked into its server.",
}
CHECKOUT = os.environ.get("TF_SERVING", "")


@pytest.mark.timeout(7200)
@pytest.mark.skipif(not CHECKOUT, reason="make proof TF_SERVING=CHECKOUT names no checkout of TensorFlow Serving")
@pytest.mark.proof("TensorFlow Serving's tests of its server pass", against="TensorFlow Serving's repository")
def test_its_server_tests_pass(packages, versions, tmp_path):
    run = packages("portpicker")
    command = shlex.join([sys.executable, "-m", "deploykit.cli.model_server"])
    found = run("tensorflow_serving_tests.py", Path(CHECKOUT).absolute(), tmp_path, command)["found"]
    commit = subprocess.run(
        ["git", "-C", CHECKOUT, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False
    )
    failed = {name: said for name, said in found.items() if said}
    passed = f"{len(found) - len(failed)} of {len(found)} tests"
    versions(
        **{"tensorflow-serving": f"{commit.stdout.strip() or 'unknown'}, {passed}"}, tensorflow=version("tensorflow")
    )
    assert len(found) >= 30
    assert set(failed) == set(EXPECTED), "\n\n".join(f"{n}: {s}" for n, s in failed.items() if n not in EXPECTED)
