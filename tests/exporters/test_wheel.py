"""The wheel of deploykit that an exported folder brings, and which requirements name it."""

import base64
import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import grimp
import pytest

import deploykit as dk
from deploykit.exporters._export import export
from deploykit.exporters._wheel import LEFT_OUT, _of_installation, _packed, requirements, write_wheel
from deploykit.runtimes._contract import RUNTIMES, Runtime

ROOT = Path(dk.__file__).parent
NAME = f"deploykit-{dk.__version__}+server"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    return folder / write_wheel(folder)


def test_it_holds_the_package_as_it_is_here_but_for_what_serving_does_not_take(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {n: archive.read(n) for n in archive.namelist() if n.startswith("deploykit/")}
    packages = {p.parent.name for p in ROOT.glob("*/__init__.py")}
    assert packages - {n.split("/")[1] for n in held} == LEFT_OUT - {"_notebooks"}
    wanted = [p for p in ROOT.rglob("*.py") if p.relative_to(ROOT).parts[0] not in LEFT_OUT]
    assert {f"deploykit/{p.relative_to(ROOT).as_posix()}" for p in wanted} == {n for n in held if n.endswith(".py")}
    assert held["deploykit/exporters/_wheel.py"] == (ROOT / "exporters" / "_wheel.py").read_bytes()
    assert {"deploykit/py.typed", "deploykit/core/presets/quick.json"} <= held.keys()
    assert not [n for n in held if "__pycache__" in n or "/_notebooks/" in n]


def test_its_record_lists_every_file_with_its_digest(wheel):
    with zipfile.ZipFile(wheel) as archive:
        rows = list(csv.reader(io.StringIO(archive.read(f"{NAME}.dist-info/RECORD").decode())))
        assert {row[0] for row in rows} == set(archive.namelist())
        for name, digest, size in rows[:-1]:
            data = archive.read(name)
            found = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
            assert (digest, int(size)) == (f"sha256={found}", len(data))


def test_the_same_code_gives_the_same_bytes(wheel, tmp_path):
    _packed.cache_clear()
    assert (tmp_path / write_wheel(tmp_path)).read_bytes() == wheel.read_bytes()


def test_pip_installs_it_with_its_command(wheel, tmp_path):
    target = tmp_path / "installed"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*install, "--find-links", str(wheel.parent), f"deploykit=={dk.__version__}+server"], check=True)
    command = (target / "bin" / "deploykit").read_text()
    assert "from deploykit.cli.main import main" in command
    code = "import deploykit, importlib.metadata as m; print(deploykit.__file__, m.version('deploykit'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(target)}, cwd=tmp_path, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.split() == [str(target / "deploykit" / "__init__.py"), f"{dk.__version__}+server"]


@pytest.fixture(scope="module")
def server(wheel, tmp_path_factory):
    """The wheel as pip installs it, beside the packages that are here."""
    target = tmp_path_factory.mktemp("server") / "installed"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*install, str(wheel)], check=True)
    return target


@pytest.fixture(scope="module")
def artifact(cnn, tmp_path_factory):
    return export(cnn, tmp_path_factory.mktemp("artifact") / "out")


def run_there(server, *command):
    return subprocess.run(
        [sys.executable, *command], env={**os.environ, "PYTHONPATH": str(server)}, cwd=server.parent,
        capture_output=True, text=True,
    )  # fmt: skip


def test_what_serves_imports_nothing_of_what_is_left_out():
    """Not even later: each import of the package, wherever it stands."""
    graph = grimp.build_graph("deploykit", exclude_type_checking_imports=True)
    out = {m for name in LEFT_OUT for m in graph.modules if f"{m}.".startswith(f"deploykit.{name}.")}
    serves = ("serving", "artifacts", "runtimes", "monitoring", "core", "data", "exporters", "loading", "sandbox")
    found = [
        (module, other)
        for module in graph.modules
        if module.split(".")[1:2] and module.split(".")[1] in serves
        for other in graph.find_modules_directly_imported_by(module)
        if other in out
    ]
    assert found == []


def test_verbs_that_serve_run_there(server, artifact):
    listed = run_there(server, "-m", "deploykit", "--help").stdout
    verified = run_there(server, "-m", "deploykit", "verify", str(artifact.path))
    assert "golden outputs reproduced" in verified.stdout, verified.stderr
    doctor = run_there(server, "-m", "deploykit", "doctor", "--json")
    assert "it makes no candidates" in " ".join(json.loads(doctor.stdout)["notes"]), doctor.stderr
    for verb in ("serve", "verify", "tune", "capacity", "monitor", "versions", "token", "key", "sign"):
        assert f"\n    {verb} " in listed
        assert run_there(server, "-m", "deploykit", verb, "--help").returncode == 0


@pytest.mark.parametrize(
    "command",
    [
        ("-m", "deploykit", "sweep", "model.onnx"),
        ("-m", "deploykit", "plan", "model.onnx"),
        ("-m", "deploykit", "deploy", "folder", "docker"),
        ("-c", "import deploykit as dk\ntry:\n    dk.sweep\nexcept dk.DeploykitError as error:\n    exit(str(error))"),
    ],
)
def test_what_is_not_there_says_so(server, command):
    done = run_there(server, *command)
    assert done.returncode == 1
    assert "Here is the part of deploykit that serves what it exported; it has no deploykit." in done.stderr
    assert "Remedy: run this where all of deploykit is installed" in done.stderr
    assert "Traceback" not in done.stderr


def read_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(f"{NAME}.dist-info/METADATA").decode().splitlines()


def test_its_metadata_are_what_the_checkout_declares(wheel):
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text("utf-8"))["project"]
    lines = read_metadata(wheel)
    assert {f"Requires-Dist: {requirement}" for requirement in project["dependencies"]} <= set(lines)
    extras = [line.partition(": ")[2] for line in lines if line.startswith("Provides-Extra")]
    assert set(extras) == project["optional-dependencies"].keys() - {"jupyter", "all"}
    (tflite,) = [line for line in lines if "ai-edge-litert" in line]
    assert re.fullmatch(
        r"Requires-Dist: ai-edge-litert>=\S+; \(sys_platform != 'win32'\) and extra == 'tflite'", tflite
    )
    assert not [line for line in lines if "jupyterlab" in line]


def test_an_installation_gives_the_same_but_for_how_it_is_spelled(wheel, tmp_path, monkeypatch):
    """One made by pip from this wheel, which is not a checkout."""
    target = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    code = (
        "import sys; from pathlib import Path; import deploykit.exporters._wheel as w; w.write_wheel(Path(sys.argv[1]))"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env={"PYTHONPATH": str(target)}, cwd=tmp_path, check=True
    )
    again = tmp_path / f"{NAME}-py3-none-any.whl"
    assert again.read_bytes() == wheel.read_bytes()


def test_what_needs_more_than_it_holds_is_not_offered(tmp_path, monkeypatch):
    folder = tmp_path / "deploykit-0.0.1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: deploykit\nVersion: 0.0.1\nSummary: Text\nRequires-Dist: numpy<3\n"
        "Provides-Extra: onnx\nRequires-Dist: onnxruntime<1.32; extra == 'onnx'\n"
        "Provides-Extra: jupyter\nRequires-Dist: jupyterlab<5; extra == 'jupyter'\n"
        "Provides-Extra: all\nRequires-Dist: jupyterlab<5; extra == 'all'\n\n# A README\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert _of_installation()[0] == [
        "Requires-Dist: numpy<3", "Provides-Extra: onnx", "Requires-Dist: onnxruntime<1.32; extra == 'onnx'",
    ]  # fmt: skip


def test_a_runtime_is_named_by_its_extra_if_that_holds_nothing_else():
    (deploykit, *pins) = requirements(RUNTIMES.get("onnxruntime"))
    assert deploykit == f"deploykit[onnx]=={dk.__version__}+server"
    assert pins == [f"numpy=={version('numpy')}", f"onnxruntime=={version('onnxruntime')}"]
    (deploykit, *pins) = requirements(RUNTIMES.get("tensorflow"))  # its extra converts and prunes as well
    assert deploykit == f"deploykit=={dk.__version__}+server"
    assert [re.split("==", pin)[0] for pin in pins] == ["numpy", "tensorflow"]


def test_another_build_of_a_runtime_is_not_joined_by_the_usual_one():
    class Gpu(Runtime):
        name, label, extra, requires = "gpu", "GPU", "onnx", ("onnxruntime",)
        devices = _open = None

        def versions(self):
            return {"onnxruntime-gpu": "1.2"}

    assert requirements(Gpu()) == (
        f"deploykit=={dk.__version__}+server", f"numpy=={version('numpy')}", "onnxruntime-gpu==1.2",
    )  # fmt: skip
