"""Runs TensorFlow Serving's own tests of its server, from a checkout of its repository, against another command.

Arguments: the checkout, a folder for what the tests need, the command that stands in for ``tensorflow_model_server``,
and names of tests (none: all). Prints what became of each as JSON.
"""

import importlib.util
import json
import os
import shlex
import sys
import traceback
import unittest
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["TF_USE_LEGACY_KERAS"] = "1"  # the tests save models as Keras 2 did: by the names of their inputs
#: Servers that run at the same time: each holds TensorFlow.
MOST = 3

checkout, folder, command = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
sources = checkout / "tensorflow_serving"

# The tests find the server and their models below TEST_SRCDIR, where Bazel would have put them.
laid_out = folder / "tf_serving" / "tensorflow_serving"
(laid_out / "model_servers").mkdir(parents=True)
(laid_out / "servables").symlink_to(sources / "servables")
server = laid_out / "model_servers" / "tensorflow_model_server"
server.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
server.chmod(0o755)
os.environ["TEST_SRCDIR"] = str(folder)

import tensorflow_serving  # noqa: E402  its messages, from tensorflow-serving-api

tensorflow_serving.__path__.append(str(sources))  # and what is not in that package, from the checkout

from absl import flags  # noqa: E402
from tensorflow.python.platform import googletest  # noqa: E402, F401  declares the flags

flags.FLAGS(["tests", f"--test_tmpdir={folder / 'tmp'}"])
(folder / "tmp").mkdir()

spec = importlib.util.spec_from_file_location("served", sources / "model_servers" / "tensorflow_model_server_test.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
kind = module.TensorflowModelServerTest


class Result(unittest.TestResult):
    """What became of each test, and no more servers than the machine holds."""

    def __init__(self):
        super().__init__()
        self.found = {}

    def note(self, test, outcome):
        self.found[test._testMethodName] = outcome
        print(test._testMethodName, outcome.splitlines()[-1:] or ["passed"], file=sys.stderr, flush=True)

    def addSuccess(self, test):
        self.note(test, "")

    def addSkip(self, test, reason):
        self.note(test, f"skipped: {reason}")

    def addError(self, test, error):
        self.note(test, "".join(traceback.format_exception(*error)))

    addFailure = addError

    def stopTest(self, test):
        super().stopTest(test)
        servers = kind.model_servers_dict
        while len(servers) > MOST:
            process = servers.pop(next(iter(servers)))[0]
            process.kill()
            process.wait()


names = sys.argv[4:] or [n for n in unittest.TestLoader().getTestCaseNames(kind) if n != "test_session"]
result = Result()
unittest.TestSuite(map(kind, names)).run(result)
for process, *_ in kind.model_servers_dict.values():
    process.kill()
    process.wait()
print(json.dumps({"found": result.found, "command": shlex.split(command)}))
