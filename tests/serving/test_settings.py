"""How an artifact is served: by what its manifest says, unless the caller says otherwise."""

import asyncio
import os

import numpy as np
import psutil
import pytest

from deploykit.artifacts.artifact import Artifact
from deploykit.core.errors import SettingError
from deploykit.core.settings.serving import ServingSettings
from deploykit.exporters._export import export
from deploykit.serving import dataplane
from deploykit.serving._serve import serve
from deploykit.serving.dataplane import DataPlane
from deploykit.serving.processes.holder import Holder
from deploykit.serving.service import Service
from deploykit.serving.sources.catalog import Catalog
from deploykit.serving.sources.held import Terms
from deploykit.serving.sources.wishes import Wish
from deploykit.testing.exporters import exportable

posix = pytest.mark.skipif(os.name != "posix", reason="processes cannot share a port on Windows")


@pytest.fixture
def artifact(tmp_path):
    return export(exportable("cnn_onnx", tmp_path), tmp_path / "out")


def session_options(plane):
    return plane._predictor.session._session.get_session_options()


# -- the model ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "threads"), [(None, 1), (ServingSettings(), 1), (ServingSettings(threads=2), 2)])
def test_the_model_runs_with_as_many_threads_as_they_say(artifact, settings, threads):
    plane = DataPlane(artifact.served_with(settings))
    assert session_options(plane).intra_op_num_threads == threads


@pytest.mark.parametrize(("largest", "most"), [(0, 32), (1, 1), (4, 4), (32, 32)])
def test_so_many_examples_are_joined_as_they_say(artifact, monkeypatch, largest, most):
    monkeypatch.setattr(dataplane, "_least_seconds", lambda run, arguments: 1e-5 * len(arguments) ** 0.5)
    assert DataPlane(artifact.served_with(ServingSettings(largest_batch=largest))).most_joined == most


def test_a_large_batch_still_may_not_hold_up_the_others(artifact, monkeypatch):
    monkeypatch.setattr(dataplane, "_least_seconds", lambda run, arguments: 0.001)
    assert DataPlane(artifact.served_with(ServingSettings(largest_batch=32))).most_joined == 5
    monkeypatch.setattr(dataplane, "_least_seconds", lambda run, arguments: 0.1)
    assert DataPlane(artifact.served_with(ServingSettings(largest_batch=32))).most_joined == 1


def test_long_requests_are_read_in_as_many_threads_as_they_say(artifact):
    assert DataPlane(artifact)._reader._max_workers == 1
    assert DataPlane(artifact.served_with(ServingSettings(readers=3)))._reader._max_workers == 3


# -- the server --------------------------------------------------------------------------------------------------------


@posix
def test_a_server_follows_the_manifest(artifact):
    artifact.served_with(ServingSettings(workers=2, threads=2)).save()
    with serve(artifact.path, port=0) as server:
        assert len(server.pids) == 2
        assert server.predict(np.zeros((1, 8, 8), np.uint8)).shape == (1, 3)


@posix
def test_the_caller_has_the_last_word(artifact):
    artifact.served_with(ServingSettings(workers=2)).save()
    with serve(artifact, port=0, workers=1) as one, serve(artifact, port=0, settings={"workers": 3}) as three:
        assert [len(one.pids), len(three.pids)] == [1, 3]
        assert three.artifact.manifest.serving == ServingSettings(workers=3)
    assert Artifact.open(artifact.path).manifest.serving == ServingSettings(workers=2)


@posix
def test_a_server_goes_on_with_its_own_settings_when_the_artifact_is_tuned(artifact):
    with serve(artifact, port=0) as server:
        (pid,) = server.pids
        artifact.served_with(ServingSettings(workers=2, threads=2)).save()
        psutil.Process(pid).kill()
        psutil.Process(pid).wait(60) if psutil.pid_exists(pid) else None
        assert server.predict(np.zeros((1, 8, 8), np.uint8)).shape == (1, 3)
        assert len(server.pids) == 1
        assert server.failure == ""


def test_impossible_settings_are_refused_before_anything_starts(artifact):
    with pytest.raises(SettingError, match="workers must be between 1 and 256, got 0"):
        serve(artifact, port=0, settings={"workers": 0})


def test_a_model_that_was_tuned_is_loaded_again_with_its_settings(artifact):
    def state(settings):
        catalog = Catalog([Wish(name="cnn", path=artifact.path)], terms=Terms(settings))
        return catalog.open(), catalog._state()

    async def settings_after(*those):
        service = Service()
        holder = Holder(service)
        planes = []
        for settings in those:
            assert await holder.become(state(settings)[1]) == []
            planes.append(service.table.models["cnn", "1"].plane)
        return planes

    one, same, other = asyncio.run(settings_after(None, None, ServingSettings(threads=2)))
    assert one is same
    assert session_options(one).intra_op_num_threads == 1
    assert session_options(other).intra_op_num_threads == 2
