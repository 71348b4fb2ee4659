"""The command that takes ``tensorflow_model_server``'s flags, started as a script would start it."""

import json
import shutil
import signal
import ssl
import subprocess
import sys
import urllib.request

import numpy as np
import pytest

from deploykit.cli import model_server
from deploykit.cli._shared.tensorflow_flags import FLAGS
from deploykit.testing.graphs import graph, node, value

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """y = 3 x as version 5 of a model, which deploykit did not export."""
    folder = tmp_path_factory.mktemp("models") / "triple" / "00000005"
    folder.mkdir(parents=True)
    nodes, shape = [node("Mul", ["x", "three"], ["y"])], ("float32", "N", 1)
    graph(folder, nodes, [value("x", *shape)], [value("y", *shape)], three=np.array([3], np.float32))
    return folder.parent


@pytest.fixture
def start():
    """Start it, wait until it serves, and give what it said; it is ended afterwards."""
    running = []

    def run(*flags):
        command = [sys.executable, "-m", "deploykit.cli.model_server", *map(str, flags)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        running.append(process)
        said = []
        for line in process.stderr:
            said.append(line.removeprefix("deploykit-model-server: ").rstrip())
            if said[-1].startswith(("Exporting HTTP/REST API at ", "Failed")):
                break
        return process, said

    yield run
    for process in running:
        process.terminate()
        process.wait()
        process.stderr.close()


def ask(said, path, message=None):
    url = said[-1].removeprefix("Exporting HTTP/REST API at ").partition(" ")[0]
    data = None if message is None else json.dumps(message).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}{path}", data)) as answer:
        return answer.read().decode()


def test_a_script_s_flags_serve_the_model(base, start, tmp_path):
    batching, monitoring = tmp_path / "batching.txt", tmp_path / "monitoring.txt"
    batching.write_text(
        "max_batch_size { value: 4 } batch_timeout_micros { value: 0 } max_enqueued_batches { value: 50 }"
    )
    monitoring.write_text('prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }')
    process, said = start(
        "--port=0", "--rest_api_port", "0", "--model_name=tripled", f"--model_base_path={base}",
        "--enable_batching", "--batching_parameters_file", batching, f"--monitoring_config_file={monitoring}",
        "--rest_api_timeout_in_ms=5000", "--rest_api_num_threads=16", "--file_system_poll_wait_seconds=0",
    )  # fmt: skip
    assert json.loads(ask(said, "/v1/models/tripled:predict", {"instances": [[1.0], [2.5]]})) == {
        "predictions": [[3.0], [7.5]]
    }
    assert json.loads(ask(said, "/v1/models/tripled"))["model_version_status"][0]["version"] == "5"
    assert "# TYPE" in ask(said, "/monitoring/prometheus/metrics")
    assert "--rest_api_num_threads does nothing: connections need no threads here." in said
    assert f"{batching}: batch_timeout_micros does nothing: no request waits for others." in said
    assert "Listening on 127.0.0.1 alone; see --host, --tokens and --insecure." in said
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0


def test_a_models_config_is_served_over_grpc_and_its_socket(base, start, tmp_path):
    import grpc

    from deploykit.core.protos.messages import message

    config, socket = tmp_path / "models.config", tmp_path / "grpc.sock"
    config.write_text(
        f'model_config_list {{ config {{ name: "a" base_path: "{base}" model_platform: "tensorflow" }} }}'
    )
    port = next(free())
    _, said = start(f"--model_config_file={config}", f"--port={port}", f"--grpc_socket_path={socket}")
    assert f"Running grpc server at 127.0.0.1:{port}" in said
    request = message("tensorflow.serving.PredictRequest")()
    request.model_spec.name = "a"
    tensor = request.inputs["x"]
    tensor.dtype, tensor.float_val[:] = 1, [2.0]
    for _ in range(2):
        tensor.tensor_shape.dim.add(size=1)
    for address in (f"127.0.0.1:{port}", f"unix:{socket}"):
        with grpc.insecure_channel(address) as channel:
            data = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(request.SerializeToString())
        answer = message("tensorflow.serving.PredictResponse").FromString(data)
        assert list(answer.outputs["y"].float_val) == [6.0]
        assert answer.model_spec.version.value == 5


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_tls_configuration_holds_the_certificate_itself(base, start, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*made, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    config = tmp_path / "ssl.config"
    config.write_text(f"server_key: {json.dumps(key.read_text())} server_cert: {json.dumps(certificate.read_text())}")
    process, said = start(f"--model_base_path={base}", "--port=0", f"--ssl_config_file={config}")
    url = said[-1].split()[4]
    context = ssl.create_default_context(cafile=certificate)
    with urllib.request.urlopen(f"{url}/v1/models/default", context=context) as answer:
        assert json.load(answer)["model_version_status"][0]["state"] == "AVAILABLE"
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0


def free():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--model_base_path or --model_config_file is missing"),
        (["--model_base_pth=x"], "Unknown flag '--model_base_pth=x'. Did you mean --model_base_path? See --help."),
        (["--model_base_path=x", "--use_alts_credentials"], "--use_alts_credentials: ALTS is not supported; use"),
        (["--model_base_path=x", "--rest_api_enable_cors_support=true"], "pages of other servers are not let in"),
        (["--port=many"], "argument --port: invalid int value: 'many'"),
        (["--enable_batching=maybe"], "argument --enable_batching: expected true or false, got 'maybe'"),
    ],
)
def test_wrong_flags_are_named(flags, message, capsys):
    assert model_server.main(flags) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "text", "message"),
    [
        (
            "model_config_file",
            "improperly formatted file",
            "Error parsing text-format tensorflow.serving.ModelServerConf",
        ),
        ("batching_parameters_file", "max_batch: 3", "Error parsing text-format tensorflow.serving.BatchingParameters"),
        (
            "monitoring_config_file",
            'prometheus_config { enable: true path: "/m" }',
            "prometheus_config.path is '/m'; met",
        ),
        ("ssl_config_file", "client_verify: true", "client_verify needs custom_ca"),
        ("ssl_config_file", 'server_key: "x" server_cert: "y"', "server_cert.pem"),
    ],
)
def test_wrong_files_are_named(flag, text, message, base, tmp_path, capsys):
    file = tmp_path / "file.txt"
    file.write_text(text)
    assert model_server.main([f"--model_base_path={base}", f"--{flag}={file}", "--port=0"]) == 1
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("Failed to start server. Error: ")
    assert message in error


def test_flags_that_do_nothing_are_named(base, tmp_path, capsys):
    (tmp_path / "models.config").write_text("nonsense")
    files = [f"--model_config_file={tmp_path / 'models.config'}", f"--model_base_path={base}"]
    polls = ["--file_system_poll_wait_seconds=0", "--model_config_file_poll_wait_seconds=60"]
    assert model_server.main([*files, *polls, "--port=1", "--port=0", "--rest_api_num_threads=8"]) == 1
    said = capsys.readouterr().err
    assert "--port is given 2 times; the last one counts." in said
    assert "--model_base_path does nothing beside --model_config_file." in said
    assert "--model_config_file_poll_wait_seconds also has new versions looked for." in said
    assert "--rest_api_num_threads does nothing: connections need no threads here." in said
    (tmp_path / "batching").write_text("max_enqueued_batches { value: 0 }")
    batching = ["--enable_batching", f"--batching_parameters_file={tmp_path / 'batching'}"]
    assert model_server.main([f"--model_base_path={base}", "--port=0", "--workers=0", *batching]) == 1
    said = capsys.readouterr().err
    assert "0 batches or examples are not possible: 1 is the nearest number that is." in said
    assert "workers must be" in said


def test_another_address_needs_tokens_or_a_word(base, capsys):
    assert model_server.main([f"--model_base_path={base}", "--port=0", "--host=0.0.0.0"]) == 1
    assert "Without tokens, anyone who can reach 0.0.0.0 can use the model." in capsys.readouterr().err


def test_every_flag_is_used_or_explained():
    """Each of main.cc's flags but one, which shows the version."""
    assert len({flag.name for flag in FLAGS}) == len(FLAGS) == 47
    assert all(bool(flag.help) != bool(flag.note) for flag in FLAGS)


def test_the_version_is_shown(capsys):
    assert model_server.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("deploykit-model-server: deploykit ")
