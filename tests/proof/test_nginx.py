"""A server behind nginx, with the configuration that the guide shows."""

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest

from deploykit.artifacts.arrays import load_arrays
from deploykit.core.protos.messages import message
from deploykit.exporters._export import export
from deploykit.serving._serve import serve
from deploykit.testing.exporters import exportable

CONFIGURATION = Path(__file__).parents[2] / "docs" / "how-to" / "nginx.conf"
NAME = "models.example.com"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
INFER = "/inference.GRPCInferenceService/ModelInfer"

pytestmark = pytest.mark.proof("REST and gRPC are served behind nginx as the guide says", against="nginx")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Proxied:
    """A server behind nginx.

    Attributes:
        server: The server.
        port: nginx's.
        log: The server's access log.
        certificate: nginx's certificate.
    """

    def __init__(self, server, port, log, certificate):
        self.server, self.port, self.log, self.certificate = server, port, log, certificate
        self.context = ssl.create_default_context(cafile=str(certificate))
        self.context.verify_flags &= ~ssl.VERIFY_X509_STRICT

    def connect(self):
        """A connection to nginx, which is called by its public name."""
        connection = http.client.HTTPSConnection(NAME, self.port, context=self.context, timeout=60)
        connection._create_connection = lambda address, *rest: socket.create_connection(
            ("127.0.0.1", address[1]), *rest
        )
        return contextlib.closing(connection)

    def ask(self, method, path, body=None, connection=None, **headers):
        """Status, headers and body."""
        with contextlib.nullcontext(connection) if connection else self.connect() as asked:
            asked.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()} | {"Host": NAME})
            answer = asked.getresponse()
            return answer.status, answer.headers, answer.read()

    def channel(self):
        """A channel to nginx."""
        credentials = grpc.ssl_channel_credentials(self.certificate.read_bytes())
        return grpc.secure_channel(
            f"127.0.0.1:{self.port}", credentials, [("grpc.ssl_target_name_override", NAME)]
        )  # fmt: skip


@pytest.fixture(scope="module")
def proxied(tmp_path_factory):
    if NGINX is None:
        pytest.skip("nginx is not installed")
    folder = tmp_path_factory.mktemp("nginx")
    certificate, key = folder / "models.pem", folder / "models.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    artifact = export(exportable("log_onnx", folder), folder / "out")
    port = free_port()
    with serve(
        artifact, port=0, ports={"grpc": 0}, hosts=[NAME], access_log=folder / "access.log", log_format="json"
    ) as server:
        text = CONFIGURATION.read_text("utf-8")
        for old, new in (
            ("127.0.0.1:8501", f"127.0.0.1:{server.port}"), ("127.0.0.1:8500", f"127.0.0.1:{server.ports['grpc']}"),
            ("listen 443", f"listen 127.0.0.1:{port}"), ("/etc/ssl/models.pem", str(certificate)),
            ("/etc/ssl/models.key", str(key)),
        ):  # fmt: skip
            assert text.count(old) == (2 if old == "listen 443" else 1)  # and once in a comment
            text = text.replace(old, new)
        kept = "\n".join(
            f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"{'' if os.getuid() else 'user root root;'}\n"  # or it could not write in the folder
            f"daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
            f"http {{\naccess_log off;\n{kept}\n{text}\n}}\n"
        )
        command = [NGINX, "-p", folder, "-e", folder / "error.log", "-c", folder / "nginx.conf"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        try:
            wait(port, process, folder / "error.log")
            yield Proxied(server, port, folder / "access.log", certificate)
        finally:
            process.terminate()
            process.wait(30)
            process.stderr.close()


def wait(port, process, log):
    deadline = time.monotonic() + 30
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, log.read_text()


@pytest.fixture(autouse=True)
def noted(proxied, versions):
    said = subprocess.run([NGINX, "-v"], capture_output=True, text=True, check=True).stderr
    versions(nginx=re.search(r"nginx/([\d.]+)", said)[1])


@pytest.fixture
def golden(proxied):
    manifest, path = proxied.server.artifact.manifest, proxied.server.artifact.path
    return [load_arrays(path / name) for name in (manifest.golden_inputs, manifest.golden_outputs)]


def test_rest_is_answered_over_kept_connections(proxied, golden):
    given, wanted = golden
    body = json.dumps({"inputs": given["features"].tolist()}).encode()
    with proxied.connect() as connection:
        for _ in range(30):
            status, headers, answer = proxied.ask(
                "POST", f"/v1/models/{proxied.server.name}:predict", body, connection, X_Request_Id="from-a-client"
            )
            assert (status, headers["x-request-id"]) == (200, "from-a-client")
    found = json.loads(answer)["outputs"]
    np.testing.assert_allclose(found, next(iter(wanted.values())), rtol=1e-5)
    (worker,) = proxied.server.pids
    behind = [c for c in psutil.Process(worker).net_connections() if c.raddr and c.laddr.port == proxied.server.port]
    assert len(behind) == 1


def test_grpc_is_answered_on_the_same_port(proxied, golden):
    given, wanted = golden
    x = given["features"].astype("<f4")
    request = message("inference.ModelInferRequest")(model_name=proxied.server.name)
    request.inputs.add(name="features", datatype="FP32", shape=x.shape)
    request.raw_input_contents.append(x.tobytes())
    with proxied.channel() as channel:
        answer, call = channel.unary_unary(INFER).with_call(
            request.SerializeToString(), timeout=60, metadata=[("x-request-id", "from-grpc")]
        )
        found = message("inference.ModelInferResponse").FromString(answer)
        np.testing.assert_allclose(
            np.frombuffer(found.raw_output_contents[0], "<f4"), next(iter(wanted.values())).ravel(), rtol=1e-5
        )
        assert dict(call.trailing_metadata())["x-request-id"] == "from-grpc"
        request.model_name = "other"
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(INFER)(request.SerializeToString(), timeout=60)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_nginx_gives_an_id_where_the_client_gives_none_that_is_sane(proxied):
    made = [proxied.ask("GET", "/v2", X_Request_Id=given)[1]["x-request-id"] for given in ("", "not sane", "x" * 200)]
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in made)
    deadline = time.monotonic() + 30
    while not set(made) <= {json.loads(line)["request_id"] for line in proxied.log.read_text().splitlines()}:
        assert time.monotonic() < deadline


def test_bodies_up_to_the_servers_limit_pass(proxied):
    path = f"/v2/models/{proxied.server.name}/infer"
    x = np.ones((500_000, 4), "<f4")  # 8 MB
    head = json.dumps(
        {"inputs": [{"name": "features", "datatype": "FP32", "shape": x.shape,
                     "parameters": {"binary_data_size": x.nbytes}}]}
    ).encode()  # fmt: skip
    status, _, answer = proxied.ask("POST", path, head + x.tobytes(), Inference_Header_Content_Length=str(len(head)))
    assert status == 200, answer[:300]
    try:
        status, _, _ = proxied.ask("POST", path, bytes(65 << 20))
    except (BrokenPipeError, ConnectionResetError, ssl.SSLError):  # nginx closes while the client still sends
        status = 413
    assert status == 413


def test_other_names_metrics_and_orders_are_not_for_those_outside(proxied):
    with proxied.connect() as connection:
        connection.request("GET", "/v2", headers={"Host": "elsewhere.example"})
        assert connection.getresponse().status == 421
    for path in ("/metrics", "/METRICS", "/control/models"):
        assert proxied.ask("GET", path)[0] == 403
    assert proxied.ask("GET", "/v2/health/ready")[0] == 200


def test_the_page_and_its_files_pass(proxied):
    status, headers, body = proxied.ask("GET", "/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"page.js" in body


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: 6\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 6",
        "Transfer-Encoding: \x0bchunked\r\nContent-Length: 0", "Transfer-Encoding: xchunked\r\nContent-Length: 0",
        "Content-Length: 0\r\nContent-Length: 60", "Content-Length: 0\r\n Transfer-Encoding: chunked",
        "Content-Length: +0", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    ],
)  # fmt: skip
def test_no_request_is_smuggled_past_nginx(proxied, framing):
    """What nginx takes for a body never becomes a request of its own."""
    mark = f"hidden-{abs(hash(framing))}"
    attack = (
        f"POST /v2/models/{proxied.server.name}/infer HTTP/1.1\r\nHost: {NAME}\r\n{framing}\r\n\r\n"
        f"0\r\n\r\nGET /{mark} HTTP/1.1\r\nHost: {NAME}\r\nX-Request-Id: {mark}\r\n\r\n"
    )
    with (
        socket.create_connection(("127.0.0.1", proxied.port), timeout=5) as plain,
        proxied.context.wrap_socket(plain, server_hostname=NAME) as client,
    ):
        client.sendall(attack.encode("latin-1"))
        found = client.recv(1 << 16)
    assert found.startswith(b"HTTP/1.1 "), found
    assert proxied.ask("GET", "/v2", X_Request_Id=f"after-{mark}")[0] == 200
    deadline = time.monotonic() + 30
    while f"after-{mark}" not in (text := proxied.log.read_text()):
        assert time.monotonic() < deadline
    assert f"/{mark}" not in text
