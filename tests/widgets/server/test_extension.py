"""The extension of the Jupyter server, asked over HTTP as a browser does."""

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path
from urllib.parse import urljoin

import nbformat
import pytest
from deploykit_widgets.server import netron_app

BASE = "/user/someone"
TOKEN = "a-token"

#: Refuses what a request asks to have refused, so that one server shows both answers.
_AUTHORIZER = """
from jupyter_server.auth import Authorizer

class Asked(Authorizer):
    def is_authorized(self, handler, user, action, resource):
        return handler.get_argument("refuse", "") != f"{resource}:{action}"
"""


class Server:
    """A running Jupyter server with one file, and a visitor of it."""

    def __init__(self, port, process):
        self.port, self.process = port, process

    def get(self, path, *, token=True, **headers):
        """Status, headers and body of a GET; as a visitor who is logged in by a token, or by a cookie, or not."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            given = {"Authorization": f"token {TOKEN}"} if token else {}
            connection.request("GET", BASE + path, headers=given | headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    (folder / "asked.py").write_text(_AUTHORIZER)
    (folder / "root").mkdir()
    (folder / "root" / "net.onnx").write_bytes(b"bytes of a model")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
        f"--ServerApp.base_url={BASE}/", f"--IdentityProvider.token={TOKEN}", "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={folder / 'root'}", "--ServerApp.authorizer_class=asked.Asked",
        "--ServerApp.jpserver_extensions={'deploykit_widgets': True}",
    ]  # fmt: skip
    env = {**os.environ, **{f"JUPYTER_{n}_DIR": str(folder / n.lower()) for n in ("CONFIG", "DATA", "RUNTIME")}}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), env.get("PYTHONPATH")]))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        try:
            found = Server(port, process)
            _wait(found, folder / "log")
            yield found
        finally:
            process.terminate()
            process.wait(30)


def _wait(server, log):
    end = time.monotonic() + 60
    while True:
        try:
            if server.get("/api/status")[0] == 200:
                return
        except OSError:
            assert server.process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
        try:
            server.process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue


@pytest.fixture(scope="module")
def cookie(server):
    """Of a visitor who came with the token once, as browsers do."""
    _, headers, _ = server.get(f"/api/status?token={TOKEN}", token=False)
    return "; ".join(c.partition(";")[0] for c in headers.get_all("Set-Cookie"))


def test_the_page_is_served_under_the_base_url_and_framed_by_this_server_only(server):
    status, headers, body = server.get("/deploykit/netron/")
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().partition(" ")[::2] for part in headers["Content-Security-Policy"].split(";"))
    assert {policy[name] for name in ("frame-ancestors", "script-src", "connect-src", "worker-src")} == {"'self'"}
    assert policy["default-src"] == "'none'"
    assert "sandbox" not in policy  # its worker dies in one
    page = body.decode()
    assert page.index(netron_app.BRIDGE) < page.index('src="index.js"')  # before Netron, or it is too late


def test_every_file_of_the_page_has_its_type(server):
    for name, kind in (("view.js", "text/javascript"), ("grapher.css", "text/css"), ("onnx-metadata.json", "json")):
        status, headers, body = server.get(f"/deploykit/netron/{name}")
        assert (status, kind in headers["Content-Type"], headers["X-Content-Type-Options"]) == (200, True, "nosniff")
        assert body
        assert server.get(f"/deploykit/netron/{name}", **{"If-None-Match": headers["Etag"]})[0] == 304


@pytest.mark.parametrize("path", ["/deploykit/netron/", "/deploykit/netron/view.js", "/deploykit/template"])
def test_strangers_and_the_unauthorized_get_nothing(server, path):
    status, headers, _ = server.get(path, token=False)
    assert status == 403 or (status == 302 and "/login" in headers["Location"])
    assert server.get(f"{path}?refuse=contents:read")[0] == 403


@pytest.mark.parametrize("path", ["/deploykit/netron/view.js", "/files/net.onnx"])
def test_other_sites_can_embed_neither_the_page_nor_a_model(server, cookie, path):
    def asked(**headers):
        return server.get(path, token=False, Cookie=cookie, **headers)[0]

    assert asked() == 403
    assert asked(Referer="https://elsewhere.example/") == 403
    assert asked(Referer=f"http://127.0.0.1:{server.port}{BASE}/lab") == 200


@pytest.mark.parametrize(
    "name",
    ["server.py", "__init__.py", "../netron/view.js", "..%2fnetron%2fview.js", "%2e%2e/view.js", "%2fetc%2fpasswd",
     "x.js", "..", "__pycache__", "net.onnx"],
)  # fmt: skip
def test_nothing_else_is_served(server, name):
    assert server.get(f"/deploykit/netron/{name}")[0] in {403, 404}


def test_a_model_is_read_where_the_server_serves_files(server):
    """The bridge asks for ../../files/PATH, seen from the page."""
    assert server.get(urljoin("/deploykit/netron/", "../../files/net.onnx"))[2] == b"bytes of a model"
    assert server.get("/files/%2e%2e/asked.py")[0] in {403, 404}


def test_the_template_can_be_filled(server):
    status, headers, body = server.get("/deploykit/template")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    book = nbformat.reads(body.decode(), as_version=4)
    nbformat.validate(book)
    (cell,) = [c for c in book.cells if "parameters" in c.metadata.get("tags", [])]
    assert {"model_path: str", "data_path: str", "store: str"} <= set(re.findall("^.*: str", cell.source, re.M))


def _served(name):
    return netron_app.read(name)[0].decode()


def test_netron_neither_phones_home_nor_asks_nor_ends():
    browser = _served("browser.js")
    for call in ("age()", "consent()", "telemetry()", "capabilities()"):
        assert f"await {call}" not in browser
    for name in ("browser.js", "base.js"):
        assert set(re.findall(r"https?://([\w.]+)", _served(name))) <= {"www.w3.org"}
    assert "blocked://analytics" in _served("base.js")  # what was cut out is known to have been there


def test_no_file_asks_for_an_address_of_another_machine():
    asks = re.compile(
        r"""(?:fetch|_request|import|Worker|sendBeacon|open|WebSocket|EventSource|importScripts)\(\s*[`'"](?:https?:|//|wss?:)"""
        r"""|(?:src|\.href)\s*=\s*[`'"](?:https?:|//)|url\(\s*['"]?(?:https?:|//)|@import"""
    )
    served = [p.name for p in Path(str(files("netron"))).iterdir() if p.suffix in {".js", ".css", ".html"}]
    assert len(served) > 50
    for name in served:
        found = [m.group() for m in asks.finditer(_served(name))]
        assert found == [], name
    links = re.findall(r"<(?!a )[^>]*(?:src|href)=\"(?:https?:)?//[^\"]*\"", _served("index.html"))
    assert links == []  # but for links to click


def test_another_netron_is_refused_by_name(monkeypatch):
    changes = {"browser.js": (netron_app.Change("await somethingElse();", ""),)}
    monkeypatch.setattr(netron_app, "CHANGES", changes)
    netron_app._changed.cache_clear()
    try:
        with pytest.raises(netron_app.NetronChangedError, match=r"netron [\d.]+: browser.js holds 0 times"):
            netron_app.read("view.js")
    finally:
        netron_app._changed.cache_clear()


def test_the_server_loads_no_framework_for_it():
    code = (
        "import sys, deploykit_widgets.server.extension, json;"
        "print(json.dumps([m for m in ('ipywidgets', 'altair', 'numpy', 'pandas', 'tensorflow') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
