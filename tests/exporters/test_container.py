"""The container layout: what an image is built from, and what may be changed in the folder."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import zipfile

import pytest
import yaml

from deploykit.core.errors import ExportError, SettingError
from deploykit.exporters._container.constraints import constraints
from deploykit.exporters._export import export
from deploykit.exporters._files import new_folder
from deploykit.exporters._verify import verify
from deploykit.exporters._wheel import VERSION
from deploykit.serving._serve import serve


@pytest.fixture(scope="module")
def artifact(cnn, tmp_path_factory):
    return export(cnn, tmp_path_factory.mktemp("container") / "out", layout="container", name="Shoes_2")


def read(artifact, name):
    return (artifact.path / name).read_text("utf-8")


def instruction(artifact, word):
    """The rest of an instruction of the Dockerfile."""
    (found,) = re.findall(rf"^{word} (.*)$", read(artifact, "Dockerfile"), re.MULTILINE)
    return found


def test_constraints_are_what_is_installed_here_and_nothing_of_training(artifact):
    held = dict(line.split("==") for line in read(artifact, "constraints.txt").splitlines())
    assert held == {name: importlib.metadata.version(name) for name in held}
    assert {"numpy", "onnxruntime", "grpcio", "protobuf", "typing-extensions", "flatbuffers"} <= held.keys()
    assert not {"tensorflow", "pandas", "onnx", "pyyaml", "pytest", "deploykit"} & held.keys()
    assert read(artifact, "requirements.txt").splitlines()[:2] == ["--find-links .", "--constraint constraints.txt"]


def test_an_extra_that_is_not_asked_for_constrains_nothing():
    without, with_it = (constraints([line]) for line in ("jsonschema", "jsonschema[format]"))
    assert set(without) <= set(with_it)
    assert not any(line.startswith("tensorflow") for line in constraints(["deploykit[tflite]==0"]))


def test_the_image_has_the_locked_packages_and_the_fixed_files(artifact):
    text = read(artifact, "Dockerfile")
    assert f"ARG BASE=python:{sys.version_info.major}.{sys.version_info.minor}-slim" in text
    assert "--require-hashes -r /build/requirements.lock" in text
    assert instruction(artifact, "USER") == "65532:65532"
    ignored, *kept = read(artifact, ".dockerignore").splitlines()
    assert ignored == "**"
    fixed = set(artifact.fixed_files) | {"manifest.json", "requirements.lock"}
    assert {line.removeprefix("!") for line in kept} == fixed


def test_the_command_of_the_image_serves_and_its_health_check_notices(artifact, tmp_path):
    command = json.loads(instruction(artifact, "CMD"))
    given = dict(zip(command[3::2], command[4::2], strict=False))
    assert command[:3] == ["deploykit", "serve", "/srv/artifact"]
    assert given["--port"] == "8501"
    limits = dict(re.findall(r"(\w+)=(\d+)", " ".join(command)))
    health = json.loads(re.search(r"CMD (\[\"python.*\])$", read(artifact, "Dockerfile"), re.MULTILINE)[1])
    with serve(artifact, port=0, limits={name: int(value) for name, value in limits.items()}) as server:
        here = health[2].replace("8501", str(server.port))
        assert subprocess.run([sys.executable, "-c", here], check=False).returncode == 0
    assert subprocess.run([sys.executable, "-c", here], capture_output=True, check=False).returncode == 1


def test_compose_runs_it_without_privileges_and_within_its_memory(artifact):
    compose = yaml.safe_load(read(artifact, "compose.yaml"))
    model = compose["services"]["model"]
    assert model["read_only"]
    assert model["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for s in compose["services"].values() for port in s["ports"])
    resources = model["deploy"]["resources"]
    assert int(resources["reservations"]["memory"][:-1]) < int(resources["limits"]["memory"][:-1])
    scraped = yaml.safe_load(read(artifact, "monitoring/prometheus.yaml"))["scrape_configs"]
    assert scraped[0]["static_configs"] == [{"targets": ["model:8501"]}]
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in compose["volumes"] or (artifact.path / source).exists()
    dashboard = json.loads(read(artifact, "monitoring/dashboards/deploykit.json"))
    assert dashboard["uid"] == "deploykit-servers"


def test_what_says_how_it_is_deployed_may_be_changed_and_left_out(cnn, tmp_path):
    made = export(cnn, tmp_path / "out", layout="container")
    (made.path / "compose.yaml").write_text("services: {}\n")
    (made.path / "Dockerfile").unlink()
    (made.path / "requirements.lock").write_text("")
    assert verify(made).ok
    with new_folder(made.path, overwrite=False):  # none of it is a foreign file
        pass
    made = export(cnn, tmp_path / "out", layout="container")
    (made.path / "constraints.txt").write_text("numpy==1\n")
    assert "constraints.txt has changed" in verify(made).problems[0]


def test_memory_grows_with_workers_and_what_is_given_is_used_or_refused(cnn, written):
    def limits(**parameters):
        model = yaml.safe_load((written(cnn, "container", **parameters) / "compose.yaml").read_text("utf-8"))
        resources = model["services"]["model"]["deploy"]["resources"]
        return [int(resources[name]["memory"][:-1]) for name in ("reservations", "limits")]

    # 64 MiB of the parent and 100 of each worker; each may grow by half and hold 128 MiB of requests, and a quarter
    # more before it is killed; in steps of 32 MiB.
    assert limits() == [192, 416]
    assert limits(workers=4) == [480, 1472]
    assert limits(memory_mib=2000) == [192, 2000]
    with pytest.raises(SettingError, match=r"memory_mib=20, is too small: .* take 192 MiB\. Remedy"):
        limits(memory_mib=20)


def test_names_that_no_engine_accepts(cnn, written, tmp_path):
    for image in ("Registry/Model:1", "a b", "model:", "x/y@sha256:12"):
        with pytest.raises(SettingError, match="is not the name of an image"):
            written(cnn, "container", image=image)
    with pytest.raises(ExportError, match=r"has 50 characters, .* at most 40\. Remedy: export with name="):
        export(cnn, tmp_path / "out", layout="container", name="a" * 50)
    assert not (tmp_path / "out").exists()
    made = written(cnn, "container", name="3D.Shoes_", image="localhost:5000/team/x:1.0")
    compose = yaml.safe_load((made / "compose.yaml").read_text("utf-8"))
    assert compose["name"] == "model-3d-shoes"
    assert compose["services"]["model"]["image"] == "localhost:5000/team/x:1.0"


def wheel(folder, name, version, *needs):
    """A wheel that holds nothing."""
    info = f"{name}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {n}" for n in needs)]
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{info}/METADATA", "\n".join([*lines, ""]))
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.mark.long
def test_the_lock_has_a_digest_of_all_that_is_needed(artifact, tmp_path):
    for name in ("lock.py", "Dockerfile"):
        (tmp_path / name).write_bytes((artifact.path / name).read_bytes())
    wheel(tmp_path, "deploykit", VERSION, "other>=1")
    wheel(tmp_path, "other", "1.5")
    wheel(tmp_path, "other", "2.0")
    (tmp_path / "constraints.txt").write_text("other==1.5\n")
    (tmp_path / "requirements.txt").write_text(f"--find-links .\n--constraint constraints.txt\ndeploykit=={VERSION}\n")
    alone = {**os.environ, "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
    run = [sys.executable, tmp_path / "lock.py"]
    done = subprocess.run(run, env=alone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, _, *lines = (tmp_path / "requirements.lock").read_text().splitlines()
    assert first == "--find-links ."
    for line, file in zip(lines, (f"deploykit-{VERSION}", "other-1.5"), strict=True):
        digest = subprocess.check_output(["sha256sum", tmp_path / f"{file}-py3-none-any.whl"], text=True).split()[0]
        assert line == f"{file.replace('-', '==', 1)} --hash=sha256:{digest}"
    (tmp_path / "requirements.lock").unlink()
    (tmp_path / "Dockerfile").write_text("ARG BASE=python:2.7-slim\n")
    done = subprocess.run(run, env=alone, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "python:2.7-slim python lock.py" in done.stderr
    assert not (tmp_path / "requirements.lock").exists()
