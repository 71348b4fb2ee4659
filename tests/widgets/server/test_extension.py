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
def page(server):
    """Where the page is, which only users who may read files come to know."""
    status, headers, _ = server.get("/deploykit/netron/?path=a%20b.onnx&theme=dark")
    assert status == 302
    path, _, query = headers["Location"].removeprefix(BASE).partition("?")
    assert re.fullmatch("/deploykit/netron/[0-9a-f]{32}/", path)
    assert query == "path=a%20b.onnx&theme=dark"
    return path


@pytest.fixture(scope="module")
def cookie(server):
    """Of a visitor who came with the token once, as browsers do."""
    _, headers, _ = server.get(f"/api/status?token={TOKEN}", token=False)
    return "; ".join(c.partition(";")[0] for c in headers.get_all("Set-Cookie"))


def test_the_page_is_framed_by_this_server_only_and_has_an_origin_of_its_own(server, page):
    status, headers, body = server.get(page, token=False)
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().partition(" ")[::2] for part in headers["Content-Security-Policy"].split(";"))
    assert {policy[name] for name in ("frame-ancestors", "script-src", "connect-src")} == {"'self'"}
    assert policy["default-src"] == "'none'"
    assert "allow-scripts" in policy["sandbox"]
    assert "allow-same-origin" not in policy["sandbox"]  # or it could do what JupyterLab may
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "Set-Cookie" not in headers
    text = body.decode()
    assert text.index(netron_app.BRIDGE) < text.index('src="index.js"')  # before Netron, or it is too late


def test_every_file_of_the_page_has_its_type(server, page):
    for name, kind in (("view.js", "text/javascript"), ("grapher.css", "text/css"), ("onnx-metadata.json", "json")):
        # As the page asks for them, whose origin is its own.
        status, headers, body = server.get(page + name, token=False, Origin="null")
        assert (status, kind in headers["Content-Type"], headers["X-Content-Type-Options"]) == (200, True, "nosniff")
        assert (headers["Access-Control-Allow-Origin"], "Access-Control-Allow-Credentials" in headers) == ("*", False)
        assert body
        assert server.get(page + name, token=False, **{"If-None-Match": headers["Etag"]})[0] == 304


@pytest.mark.parametrize("path", ["/deploykit/netron/", "/deploykit/template"])
def test_strangers_and_the_unauthorized_get_nothing(server, path):
    status, headers, _ = server.get(path, token=False)
    assert status == 403 or (status == 302 and "/login" in headers["Location"])
    assert server.get(f"{path}?refuse=contents:read")[0] == 403


def test_the_page_is_nowhere_else(server, page):
    for other in ("0" * 32, "0", page.split("/")[3] + "0"):
        status, _, body = server.get(f"/deploykit/netron/{other}/view.js")
        assert status == 404
        assert b"Open it again" in body


@pytest.mark.parametrize(
    ("path", "allowed"), [("/deploykit/netron/", 302), ("/deploykit/template", 200), ("/files/net.onnx", 200)]
)
def test_other_sites_can_embed_neither_the_page_nor_a_model_nor_a_template(server, cookie, path, allowed):
    def asked(**headers):
        return server.get(path, token=False, Cookie=cookie, **headers)[0]

    assert asked() == 403
    assert asked(Referer="https://elsewhere.example/") == 403
    assert asked(Referer=f"http://127.0.0.1:{server.port}{BASE}/lab") == allowed


@pytest.mark.parametrize(
    "name",
    ["server.py", "__init__.py", "../netron/view.js", "..%2fnetron%2fview.js", "%2e%2e/view.js", "%2fetc%2fpasswd",
     "x.js", "..", "__pycache__", "net.onnx", "." * 300 + "js", "view.js%00"],
)  # fmt: skip
def test_nothing_else_is_served(server, page, name):
    assert server.get(page + name)[0] in {403, 404}


@pytest.mark.parametrize("length", [300, 5000])
def test_a_long_name_is_not_found_and_shown_in_part(server, page, length):
    status, _, body = server.get(f"{page}{'x' * length}.js")
    assert status == 404
    assert f"Netron does not have a file named {'x' * 80}… ({length + 3:,} characters)." in body.decode()


def test_models_are_read_by_those_who_may_read_files_alone(server):
    assert server.get("/files/net.onnx")[2] == b"bytes of a model"
    assert server.get("/files/net.onnx", token=False, Origin="null")[0] in {302, 403}  # as the page could ask
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
