"""What would be run to deploy an artifact, and that nothing is run unless that is asked for."""

import functools
import os
import shutil
import sys
from pathlib import Path

import pytest

import deploykit as dk
from deploykit.core.errors import ExportError, SettingError
from deploykit.deploying._contract import WAYS
from deploykit.exporters._contract import EXPORTERS
from deploykit.testing.exporters import exportable

PYTHON = Path(sys.executable).name


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Exports a small model, once for each layout and image."""
    folder = tmp_path_factory.mktemp("exported")
    candidate = exportable("matmul_onnx", folder)

    @functools.cache
    def make(layout, *parameters):
        place = folder / f"{layout}-{len([*folder.iterdir()])}"
        return dk.export(candidate, place, layout=layout, name="small", parameters=dict(parameters))

    return make


@pytest.fixture
def made(exported, tmp_path):
    """A copy of an exported artifact."""

    def make(layout, **parameters):
        place = tmp_path / f"{layout}-{len([*tmp_path.iterdir()])}"
        shutil.copytree(exported(layout, *sorted(parameters.items())).path, place)
        return dk.Artifact.open(place)

    return make


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Programs of these names that note how they were called, in place of all others."""
    log = tmp_path / "log"

    def put(*names, status=0):
        for name in names:
            file = tmp_path / "bin" / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(f'#!/bin/sh\necho "{name} $* in $(pwd)" >> {log}\nexit {status}\n')
            file.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}")
        return log

    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return put


def lines(deployment):
    return [str(command) for command in deployment.commands]


def test_docker_shows_what_it_would_run_and_runs_nothing(made, tools):
    log, artifact = tools("docker"), made("container", image="registry.example.com/small:1")
    shown = dk.deploy(artifact, "docker")
    assert lines(shown) == [
        f"{PYTHON} lock.py", "docker build --tag registry.example.com/small:1 .", "docker compose up --detach",
    ]  # fmt: skip
    assert shown.dry_run
    assert not log.exists()
    assert not (artifact.path / "requirements.lock").exists()
    for command in shown.commands:
        assert all((artifact.path / file).exists() for file in command.files if file != "requirements.lock")
    assert str(shown).splitlines()[0] == f"cd {artifact.path}"
    assert str(shown).endswith("# Nothing was run.")
    (artifact.path / "requirements.lock").write_text("")
    assert lines(dk.deploy(artifact, "docker", parameters={"push": True})) == [
        "docker build --tag registry.example.com/small:1 .", "docker push registry.example.com/small:1",
        "docker compose up --detach",
    ]  # fmt: skip


def test_a_changed_compose_file_counts(made):
    artifact = made("container", image="registry.example.com/small:1")
    file = artifact.path / "compose.yaml"
    text = file.read_text("utf-8")
    file.write_text(text.replace("example.com/small:", "example.com/other:"))
    assert "docker build --tag registry.example.com/other:1" in str(dk.deploy(artifact, "docker"))
    file.write_text("services: []\n")
    with pytest.raises(ExportError, match=r"compose\.yaml has no services\.model\.image\. Remedy: put it back"):
        dk.deploy(artifact, "docker")


def test_kubernetes_pushes_where_there_is_a_registry_and_says_so_where_not(made):
    shown = dk.deploy(
        made("kubernetes", image="localhost:5000/small:1"), "kubernetes", parameters={"overlay": "production"}
    )
    assert lines(shown)[-2:] == [
        "docker push localhost:5000/small:1", "kubectl apply --kustomize kubernetes/overlays/production",
    ]  # fmt: skip
    assert [bool(command.reaches) for command in shown.commands] == [False, False, True, True]
    shown = dk.deploy(made("kubernetes"), "kubernetes")
    assert not any("push" in line for line in lines(shown))
    assert "no registry" in shown.remarks[0]
    assert lines(shown)[-1].endswith("overlays/staging")


def test_kserve_builds_no_image_where_triton_runs_the_model(made):
    own = dk.deploy(made("kserve", image="registry.example.com/small:1"), "kserve")
    assert lines(own)[1:] == [
        "docker build --tag registry.example.com/small:1 .", "docker push registry.example.com/small:1",
        "kubectl apply --filename kserve/inferenceservice.yaml",
    ]  # fmt: skip
    assert lines(dk.deploy(made("kserve", runtime="triton"), "kserve")) == lines(own)[-1:]


def test_helm_installs_the_chart_under_its_name(made):
    artifact = made("helm", image="registry.example.com/small:1")
    shown = dk.deploy(artifact, "helm")
    assert lines(shown)[2:] == ["docker push registry.example.com/small:1", "helm upgrade --install small chart"]
    named = dk.deploy(artifact, "helm", parameters={"release": "demo", "namespace": "prod"})
    assert lines(named)[-1] == "helm upgrade --install demo chart --namespace prod"
    for parameters in ({"release": "--debug"}, {"namespace": "a b"}):
        with pytest.raises(SettingError, match="is not a name of Kubernetes"):
            dk.deploy(artifact, "helm", parameters=parameters)


def test_it_runs_the_commands_in_the_folder_when_that_is_asked_for(made, tools):
    artifact = made("kubernetes", image="localhost:5000/small:1")
    (artifact.path / "requirements.lock").write_text("")
    log = tools("docker", "kubectl")
    tools_path = os.environ["PATH"]
    os.environ["PATH"] = f"{tools_path}{os.pathsep}/usr/bin{os.pathsep}/bin"
    done = dk.deploy(artifact, "kubernetes", dry_run=False)
    assert not done.dry_run
    assert log.read_text().splitlines() == [f"{line} in {artifact.path}" for line in lines(done)]


def test_the_first_command_that_fails_ends_it(made, tools):
    artifact = made("kubernetes")
    (artifact.path / "requirements.lock").write_text("")
    tools("kubectl")
    log = tools("docker", status=3)
    with pytest.raises(ExportError, match=r"docker build .* ended with exit status 3; 1 of 2 commands were not run"):
        dk.deploy(artifact, "kubernetes", dry_run=False)
    assert len(log.read_text().splitlines()) == 1


def test_a_missing_tool_is_named_before_anything_is_run(made, tools):
    artifact, log = made("kubernetes", image="localhost:5000/small:1"), tools("docker")
    assert dk.deploy(artifact, "kubernetes").missing == ("kubectl",)
    with pytest.raises(ExportError, match=r"Not installed here: kubectl\. Nothing was run\. Remedy: install it"):
        dk.deploy(artifact, "kubernetes", dry_run=False)
    assert not log.exists()


def test_a_changed_artifact_is_not_deployed(made, tools):
    artifact, log = made("container", image="registry.example.com/small:1"), tools("docker")
    (artifact.path / "constraints.txt").write_text("")
    with pytest.raises(ExportError, match=r"constraints\.txt has changed"):
        dk.deploy(artifact, "docker", dry_run=False)
    assert not log.exists()


def test_an_artifact_without_the_files_names_the_layouts_that_have_them(made):
    with pytest.raises(
        ExportError, match=r"has the layout folder and no lock\.py.*Remedy: export with layout='container'"
    ):
        dk.deploy(made("folder"), "docker")
    with pytest.raises(SettingError, match=r"Unknown way of deploying 'dokcer'.*did you mean 'docker'"):
        dk.deploy(made("folder"), "dokcer")
    for way in WAYS.all():
        assert all(layout in EXPORTERS for layout in way.layouts)


def test_the_command_line_shows_it(made, capsys):
    from deploykit.cli.main import main

    assert main(["deploy", str(made("kubernetes").path), "kubernetes", "--set", "overlay=production"]) == 0
    out = capsys.readouterr().out
    assert "kubectl apply --kustomize kubernetes/overlays/production" in out
    assert "# Nothing was run." in out
