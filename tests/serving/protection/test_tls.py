"""TLS and mutual TLS, by the standard library's and gRPC's own clients."""

import http.client
import os
import shutil
import socket
import ssl
import subprocess
import time

import numpy as np
import pytest

from deploykit.artifacts.client import Client
from deploykit.core.errors import ServeError, SettingError
from deploykit.serving._serve import serve
from deploykit.serving.protection.tls import Tls

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An authority, and certificates and keys of a server and a client that it has signed."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, cwd=folder)

    key = ("-newkey", "rsa:2048", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=authority",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n")
    for name in ("server", "client"):
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "2", "-extfile", "names", "-out", f"{name}.pem")  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def secured(made, files):
    with serve(
        made("cnn_onnx"), port=0, ports={"grpc": 0}, tls_certificate=files / "server.pem", tls_key=files / "server.key",
        limits={"header_seconds": 0.5},
    ) as server:  # fmt: skip
        yield server


def live(server, context):
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=30, context=context)
    try:
        connection.request("GET", "/v2/health/live")
        return connection.getresponse().status
    finally:
        connection.close()


def test_answers_are_encrypted_and_the_same(secured, served, files):
    assert secured.url.startswith("https://127.0.0.1:")
    assert live(secured, ssl.create_default_context(cafile=files / "ca.pem")) == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        live(secured, ssl.create_default_context())
    with (
        Client(secured.url) as stranger,
        pytest.raises(ServeError, match=r"trust its authority \(SSL_CERT_FILE=FILE\)"),
    ):
        stranger.infer("cnn", {})
    images = np.random.default_rng(0).integers(0, 255, (3, 8, 8)).astype(np.uint8)
    np.testing.assert_array_equal(secured.predict(images), served("cnn_onnx").predict(images))


def test_nothing_is_said_without_tls(secured):
    with socket.create_connection(("127.0.0.1", secured.port), timeout=30) as plain:
        plain.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert not plain.recv(100).startswith(b"HTTP")


def test_a_handshake_that_does_not_come_is_cut(secured):
    with socket.create_connection(("127.0.0.1", secured.port), timeout=30) as silent:
        began = time.monotonic()
        assert silent.recv(1) == b""
        assert time.monotonic() - began < 20


def test_old_versions_are_refused(files):
    context = Tls.of(files / "server.pem", files / "server.key", None).context()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_grpc_is_encrypted_as_well(secured, files):
    grpc = pytest.importorskip("grpc")
    credentials = grpc.ssl_channel_credentials((files / "ca.pem").read_bytes())
    address = f"127.0.0.1:{secured.ports['grpc']}"
    with grpc.secure_channel(address, credentials) as channel:
        assert channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=30) == b"\x08\x01"
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError):
        channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=30)


def test_only_clients_with_a_certificate_are_let_in(made, files):
    grpc = pytest.importorskip("grpc")
    with serve(
        made("cnn_onnx"), port=0, ports={"grpc": 0}, tls_certificate=files / "server.pem", tls_key=files / "server.key",
        tls_clients=files / "ca.pem",
    ) as server:  # fmt: skip
        context = ssl.create_default_context(cafile=files / "ca.pem")
        with pytest.raises((ssl.SSLError, OSError, http.client.HTTPException)):
            live(server, context)
        context.load_cert_chain(files / "client.pem", files / "client.key")
        assert live(server, context) == 200
        assert server.predict(np.zeros((1, 8, 8), np.uint8)).shape == (1, 3)
        root, key, chain = ((files / name).read_bytes() for name in ("ca.pem", "client.key", "client.pem"))
        address = f"127.0.0.1:{server.ports['grpc']}"
        for credentials, works in (
            (grpc.ssl_channel_credentials(root), False), (grpc.ssl_channel_credentials(root, key, chain), True),
        ):  # fmt: skip
            with grpc.secure_channel(address, credentials) as channel:
                ask = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
                if works:
                    assert ask(b"", timeout=30) == b"\x08\x01"
                else:
                    with pytest.raises(grpc.RpcError):
                        ask(b"", timeout=30)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("server.pem", None, None), "both a certificate and its key"),
        ((None, None, "ca.pem"), "both a certificate and its key"),
        (("server.pem", "client.key", None), "cannot be used"),
        (("names", "server.key", None), "cannot be used"),
        (("none.pem", "server.key", None), "Cannot read the certificate"),
        (("server.pem", "server.key", "names"), "no certificates of authorities"),
        (("server.pem", "server.key", ""), "Cannot read the clients' authorities"),
    ],
)
def test_wrong_files_are_refused_before_anything_starts(made, files, names, message):
    certificate, key, clients = (name and str(files / name) for name in names)
    with pytest.raises(SettingError, match=message):
        serve(made("cnn_onnx"), port=0, tls_certificate=certificate, tls_key=key, tls_clients=clients)


@pytest.mark.skipif(os.name != "posix", reason="openssl of POSIX")
def test_a_key_with_a_password_is_refused_without_asking_for_it(made, files):
    command = ["openssl", "rsa", "-aes256", "-passout", "pass:x", "-in", "server.key", "-out", "locked.key"]
    subprocess.run(command, check=True, capture_output=True, cwd=files)
    with pytest.raises(SettingError, match="without a password"):
        serve(made("cnn_onnx"), port=0, tls_certificate=files / "server.pem", tls_key=files / "locked.key")
