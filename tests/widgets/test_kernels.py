"""Commands from the browser in real kernels: ipykernel 7.3 hands them out during a busy cell, 7.4 after it."""

import json
import os
import queue
import subprocess
import sys
import time
import uuid

import pytest
from jupyter_client import BlockingKernelClient
from jupyter_client.manager import KernelManager

WAIT_S = 120
QUIET_S = 5  # after this long without a message, the kernel is woken
VERSIONS = ("7.3.0", "7.4.0")

_BENCH = """
from deploykit_widgets.workbench import Workbench
bench = Workbench()
print("id", bench.widget.comm.comm_id)
"""
#: Until told by a file, so that nothing depends on how fast anything is.
_BUSY = """
import time, pathlib
print("busy")
while not pathlib.Path({gate!r}).exists():
    time.sleep(0.01)
tab = bench._state.goal.max_drop
"""


@pytest.fixture(scope="module", params=VERSIONS)
def kernel(request, tmp_path_factory):
    """A kernel of one version of ipykernel, which is put before the installed one on its path."""
    place = tmp_path_factory.mktemp("ipykernel")
    wanted = [f"ipykernel=={request.param}", "--no-deps", "--quiet", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "install", "--target", str(place), *wanted], check=True)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")])}
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env=env, cwd=str(place))
    client, other = manager.client(), BlockingKernelClient(connection_file=manager.connection_file)
    other.load_connection_file()  # a session of its own, which the kernel knows it by
    client.start_channels()
    other.start_channels(iopub=False, stdin=False, hb=False, control=False)
    try:
        client.wait_for_ready(timeout=WAIT_S)
        yield Kernel(client, other, request.param)
    finally:
        other.stop_channels()
        client.stop_channels()
        manager.shutdown_kernel(now=True)


class Kernel:
    def __init__(self, client, other, version):
        self.client = client
        self.other = other
        self.version = version
        self.seen = []
        self.running = None

    def run(self, code):
        """Run a cell once the last one is answered."""
        self.answered()
        self.running = self.client.execute(code)
        return self.running

    def answered(self):
        """Wait for the end of the last cell.

        ipykernel 7.3 may not read what arrives while it sends an answer (its issue 1554, fixed in 7.4).
        """
        end = time.monotonic() + WAIT_S
        while self.running is not None:
            answer = self.message(self.client.get_shell_msg, end, "the end of the cell")
            if answer["parent_header"].get("msg_id") == self.running:
                self.running = None

    def message(self, get, end, what):
        """The next message of a channel.

        What ipykernel 7.3 has left unread, it reads when another client writes to it, as JupyterLab's other tabs do;
        the client that it forgot cannot wake it.
        """
        while time.monotonic() < end:
            try:
                return get(timeout=QUIET_S)
            except queue.Empty:
                self.other.kernel_info()
        raise AssertionError(f"not seen: {what}")

    def send(self, comm, command, *, subshell=None, **arguments):
        """A command as the browser sends it; returns its number."""
        number = uuid.uuid4().hex
        content = {"type": "do", "id": number, "command": command, "args": arguments}
        data = {"method": "custom", "content": content}
        message = self.client.session.msg("comm_msg", {"comm_id": comm, "data": data})
        message["header"]["subshell_id"] = subshell
        self.client.shell_channel.send(message)
        return number

    def control(self, kind, **content):
        """Ask on the control channel."""
        self.client.control_channel.send(self.client.session.msg(kind, content))
        return self.client.get_control_msg(timeout=WAIT_S)["content"]

    def until(self, found, what):
        """The first message for which ``found`` gives something; messages are kept, and looked at in order."""
        end = time.monotonic() + WAIT_S
        while True:
            message = self.message(self.client.get_iopub_msg, end, what)
            self.seen.append(message)
            if (value := found(message)) is not None:
                return value


def words(message):
    return message["content"]["text"].strip() if message["msg_type"] == "stream" else None


def reply_to(number):
    def found(message):
        content = message["content"].get("data", {}).get("content", {}) if message["msg_type"] == "comm_msg" else {}
        return content if content.get("type") == "reply" and content.get("id") == number else None

    return found


def ended(message_id):
    def found(message):
        mine = message["parent_header"].get("msg_id") == message_id
        return True if mine and message["content"].get("execution_state") == "idle" else None

    return found


def test_commands_are_done_once_whenever_the_kernel_hands_them_out(kernel, tmp_path):
    kernel.run("import ipykernel; print('version', ipykernel.__version__)")
    assert kernel.until(words, "the version") == f"version {kernel.version}"
    kernel.run(_BENCH)
    comm = kernel.until(lambda m: (words(m) or "")[3:] or None, "the widget's number")

    gate = tmp_path / "gate"
    busy = kernel.run(_BUSY.format(gate=str(gate)))
    kernel.until(lambda m: True if words(m) == "busy" else None, "the cell runs")
    first = kernel.send(comm, "set_goal", max_drop=0.02, minimize="latency")
    second = kernel.send(comm, "set_goal", max_drop=0.03, minimize="size")
    gate.touch()
    found = {}

    def gather(message):
        for name, look in (("first", reply_to(first)), ("second", reply_to(second)), ("cell", ended(busy))):
            if (value := look(message)) is not None:
                found.setdefault(name, []).append(value)
        return True if len(found) == 3 else None

    kernel.until(gather, "both answers and the end of the cell")
    assert [len(v) for v in found.values()] == [1, 1, 1]
    assert found["first"][0]["ok"] is True, found["first"][0]
    assert found["second"][0]["ok"] is True, found["second"][0]

    kernel.run("bench._desk.settle(); import json; g = bench._state.goal; print(json.dumps([g.max_drop, g.minimize]))")
    assert json.loads(kernel.until(words, "the goal")) == [0.03, "size"]


def test_an_unknown_command_is_refused_in_words(kernel):
    kernel.run(
        "from deploykit_widgets.workbench import Workbench; b2 = Workbench(); print('id', b2.widget.comm.comm_id)"
    )
    comm = kernel.until(lambda m: (words(m) or "")[3:] or None, "the widget's number")
    kernel.answered()
    said = kernel.until(reply_to(kernel.send(comm, "open_the_pod_bay")), "the answer")
    assert said["ok"] is False
    assert "open_the_pod_bay" in said["error"]


def test_commands_find_their_way_when_the_subshell_of_the_last_message_is_gone(kernel):
    """JupyterLab opens a subshell for the comms of widgets, and closes it with the last of them."""
    for _ in range(5):  # each Workbench sends more than answers, at moments of its own
        kernel.run(_BENCH)
        comm = kernel.until(lambda m: (words(m) or "")[3:] or None, "the widget's number")
        kernel.answered()
        subshell = kernel.control("create_subshell_request")["subshell_id"]
        kernel.until(reply_to(kernel.send(comm, "pause", subshell=subshell)), "an answer on the subshell")
        kernel.control("delete_subshell_request", subshell_id=subshell)
        assert kernel.until(reply_to(kernel.send(comm, "pause")), "an answer after it")["ok"] is True
