"""What an exported folder installs, in an environment that has nothing else and where no index has deploykit."""

import http.server
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import urllib.request
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml

from deploykit.artifacts.arrays import load_arrays
from deploykit.artifacts.client import Client
from deploykit.exporters._export import export
from deploykit.exporters._verify import verify
from deploykit.testing.exporters import exportable

SCIENTIFIC = {"pandas", "scipy", "sympy", "altair", "h5py", "onnx", "tensorflow", "keras", "matplotlib", "uvicorn"}


def megabytes(folder):
    """On the disk, where a file takes whole blocks."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*")) / 1e6


def content(folder):
    """In files alone, as an image's layer has them, megabytes."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def command(environment, name):
    return environment / ("Scripts" if os.name == "nt" else "bin") / name


@pytest.mark.proof("An exported folder installs what serves it and nothing else, without an index", against="pip, venv")
@pytest.mark.parametrize(("kind", "runtime"), [("cnn_onnx", "onnxruntime"), ("cnn_tflite", "ai-edge-litert")])
def test_an_exported_folder_is_installed_and_served(kind, runtime, tmp_path, versions):
    artifact = export(exportable(kind, tmp_path), tmp_path / "out")
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    before, files = megabytes(environment), content(environment)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    pip = [command(environment, "pip"), "install", "--quiet", "--disable-pip-version-check", "-r"]
    done = subprocess.run(
        [*pip, artifact.path / "requirements.txt"], cwd=tmp_path, env=clean, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"pip cannot install them: {done.stderr.strip().splitlines()[-1]}")
    size = megabytes(environment) - before
    listed = subprocess.check_output([command(environment, "pip"), "list", "--format", "json"], cwd=tmp_path, env=clean)
    held = {package["name"].lower(): package["version"] for package in json.loads(listed)}
    versions(**{runtime: f"{held[runtime]}, {size:.0f} MB"})
    assert held["deploykit"].endswith("+server")
    assert not SCIENTIFIC & held.keys()
    assert size < 250
    assert content(environment) - files < 240
    deploykit = command(environment, "deploykit")
    found = json.loads(subprocess.check_output([deploykit, "verify", artifact.path, "--json"], cwd=tmp_path, env=clean))
    assert found["ok"]
    given = load_arrays(artifact.path / artifact.manifest.golden_inputs)
    wanted = load_arrays(artifact.path / artifact.manifest.golden_outputs)
    serve = [deploykit, "serve", artifact.path, "--port", "0", "--json"]
    server = subprocess.Popen(serve, cwd=tmp_path, env=clean, stdout=subprocess.PIPE, text=True)
    try:
        text = ""
        while not text.rstrip().endswith("}"):
            line = server.stdout.readline()
            assert line, "it ended before it served"
            text += line
        facts = json.loads(text)
        with Client(facts["url"]) as client:
            answered = client.infer(facts["name"], given)
    finally:
        server.terminate()
        server.wait(60)
        server.stdout.close()
    for name, value in wanted.items():
        np.testing.assert_allclose(answered[name], value, atol=1e-6)


#: Runs a command as the image does: as its user, without privileges, on file systems that cannot be written.
SEALED = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs {scratch}
chmod 1777 {scratch}
if [ -n "{closed}" ]; then  # the interpreter lies where other users may not look
    mkdir {scratch}/held
    mount --bind {prefix} {scratch}/held
    mount -t tmpfs -o mode=755 tmpfs {closed}
    mkdir -p {prefix}
    mount --move {scratch}/held {prefix}
fi
for place in $(awk '$2 !~ "^/(proc|sys|dev)" && $2 != "{scratch}" {{print $2}}' /proc/self/mounts | sort -u); do
    mount -o remount,bind,ro "$place" 2>/dev/null || true
done
cd /
export HOME={scratch} TMPDIR={scratch} PATH={environment}/bin:$PATH PYTHONDONTWRITEBYTECODE=1
exec setpriv --reuid 65532 --regid 65532 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


@pytest.fixture
def open_folder():
    """A folder that other users may read, as an image is."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def instruction(artifact, word):
    return json.loads(re.findall(rf"{word} (\[.*\])$", (artifact.path / "Dockerfile").read_text("utf-8"), re.M)[-1])


@pytest.mark.proves("container", "engine", by="pip and Linux: its user, without privileges, on a read-only root")
@pytest.mark.proof(
    "The layout `container` is locked by hash, installed from that alone, and serves without privileges on a read-only "
    "file system within the memory that it asks for",
    against="pip, Linux",
)
@pytest.mark.parametrize(("kind", "runtime"), [("cnn_onnx", "onnxruntime"), ("cnn_tflite", "ai-edge-litert")])
def test_a_container_is_locked_installed_and_sealed(kind, runtime, open_folder, versions):
    if os.name != "posix" or os.getuid() or subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("mount namespaces cannot be made here")
    artifact = export(exportable(kind, open_folder), open_folder / "out", layout="container")
    environment, scratch = open_folder / "environment", open_folder / "scratch"
    scratch.mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([sys.executable, artifact.path / "lock.py"], env=clean, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"pip finds no packages: {done.stderr.strip().splitlines()[-1]}")
    lock = artifact.path / "requirements.lock"
    hashes = lock.read_text("utf-8").count("--hash=sha256:")
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    before, files = megabytes(environment), content(environment)
    pip = [command(environment, "pip"), "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    subprocess.run([*pip, "--require-hashes", "-r", lock], cwd=open_folder, env=clean, check=True)
    size = megabytes(environment) - before
    assert size < 250
    assert content(environment) - files < 240
    held = json.loads(subprocess.check_output([command(environment, "pip"), "list", "--format", "json"], env=clean))
    assert hashes == len([package for package in held if package["name"] not in ("pip", "setuptools", "wheel")])
    assert not SCIENTIFIC & {package["name"].lower() for package in held}
    prefix = Path(sys.base_prefix).resolve()
    closed = [place for place in (prefix, *prefix.parents) if not place.stat().st_mode & 0o001]
    script = SEALED.format(scratch=scratch, environment=environment, prefix=prefix, closed=closed[-1] if closed else "")
    sealed = ["unshare", "--mount", "sh", "-c", script, "sealed"]
    touched = subprocess.run([*sealed, "touch", artifact.path / "new"], env=clean, capture_output=True, text=True)
    assert "Read-only file system" in touched.stderr
    lowered = subprocess.check_output(
        [*sealed, "sh", "-c", "id -u; grep CapEff /proc/self/status"], env=clean, text=True
    )
    assert lowered.split() == ["65532", "CapEff:", "0" * 16]
    serve = instruction(artifact, "CMD")
    serve[2], serve[serve.index("--port") + 1] = str(artifact.path), "0"
    server = subprocess.Popen([*sealed, *serve, "--json"], env=clean, stdout=subprocess.PIPE, text=True)
    try:
        text = ""
        while not text.rstrip().endswith("}"):
            line = server.stdout.readline()
            assert line, "it ended before it served"
            text += line
        url = json.loads(text)["url"].replace("0.0.0.0", "127.0.0.1")
        found = verify(artifact, url=url)
        assert found.ok, found
        health = instruction(artifact, "HEALTHCHECK .* CMD")
        health[2] = health[2].replace("8501", url.rpartition(":")[2])
        subprocess.run([command(environment, "python"), *health[1:]], env=clean, check=True)
        with urllib.request.urlopen(f"{url}/metrics") as answer:
            assert b"deploykit_requests_total" in answer.read()
        parent = psutil.Process(server.pid)
        taken = sum(p.memory_full_info().pss for p in (parent, *parent.children(recursive=True))) / (1 << 20)
        asked = yaml.safe_load((artifact.path / "compose.yaml").read_text("utf-8"))["services"]["model"]["deploy"]
        assert taken < int(asked["resources"]["reservations"]["memory"][:-1])
        parent.terminate()
        assert server.wait(60) == 0
    finally:
        server.kill()
        server.wait(60)
        server.stdout.close()
    versions(**{runtime: f"{hashes} packages, {size:.0f} MB, {taken:.0f} MiB of memory when it serves"})


@pytest.mark.proves("container", "schema", by="the Compose specification")
@pytest.mark.proof("`compose.yaml` of the layout `container` is valid", against="the Compose specification")
def test_its_compose_file_is_valid(packages, versions, tmp_path):
    artifact = export(exportable("cnn_onnx", tmp_path), tmp_path / "out", layout="container")
    run = packages("check-jsonschema", "pyyaml")
    assert run("valid.py", "compose", artifact.path / "compose.yaml") == {"compose": 1}
    broken = tmp_path / "compose.yaml"
    broken.write_text((artifact.path / "compose.yaml").read_text("utf-8").replace("read_only: true", "read_only: [1]"))
    with pytest.raises(AssertionError, match="read_only"):
        run("valid.py", "compose", broken)
    versions(check_jsonschema=run.version("check-jsonschema"))


class Daemon(http.server.BaseHTTPRequestHandler):
    """Takes the place of Docker's daemon as far as its command line sends it what an image is built from."""

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Api-Version", "1.45")
        self.send_header("Ostype", "linux")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def do_POST(self):
        body = io.BytesIO()
        while size := int(self.rfile.readline(), 16):
            body.write(self.rfile.read(size))
            self.rfile.readline()
        self.server.contexts.append(body.getvalue())
        answer = json.dumps({"stream": "taken"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.mark.proof(
    "Docker sends the files of the layout `container` that are served, and nothing else that lies in the folder",
    against="Docker's command line",
)
@pytest.mark.parametrize("kind", ["cnn_external_onnx", "cnn_saved_model"])
def test_docker_sends_what_is_served_and_nothing_else(kind, versions, tmp_path):
    if (docker := shutil.which("docker")) is None:
        pytest.skip("docker is not installed")
    artifact = export(exportable(kind, tmp_path), tmp_path / "out", layout="container")
    (artifact.path / "requirements.lock").write_text("")
    for name in (".env", "secrets/key.pem", "golden/notes.txt", "other.whl"):
        (artifact.path / name).parent.mkdir(exist_ok=True)
        (artifact.path / name).write_text("mine")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Daemon) as daemon:
        daemon.contexts = []
        threading.Thread(target=daemon.serve_forever, daemon=True).start()
        environment = {
            **os.environ, "DOCKER_HOST": f"tcp://127.0.0.1:{daemon.server_port}", "DOCKER_BUILDKIT": "0",
            "DOCKER_CONFIG": str(tmp_path),
        }  # fmt: skip
        done = subprocess.run(
            [docker, "build", "."], cwd=artifact.path, env=environment, capture_output=True, text=True
        )
        daemon.shutdown()
    assert done.returncode == 0, done.stderr
    (context,) = daemon.contexts
    sent = tmp_path / "sent"
    with tarfile.open(fileobj=io.BytesIO(context)) as archive:
        archive.extractall(sent, filter="data")
    files = {p.relative_to(sent).as_posix() for p in sent.rglob("*") if p.is_file()}
    beside = {"manifest.json", "requirements.lock", "Dockerfile", ".dockerignore"}  # the last two are for the builder
    assert files == {*artifact.fixed_files, *beside}
    assert verify(sent).ok
    told = subprocess.check_output([docker, "--version"], text=True)
    versions(docker=re.search(r"[\d.]+\d", told)[0])
