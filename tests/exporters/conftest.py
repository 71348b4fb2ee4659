import pytest

from deploykit.artifacts.encryption import Vault
from deploykit.exporters._contract import EXPORTERS, Draft
from deploykit.testing.exporters import exportable


@pytest.fixture(scope="session")
def folder_of_models(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def cnn(folder_of_models):
    return exportable("cnn_onnx", folder_of_models)


@pytest.fixture(scope="session")
def saved_model(folder_of_models):
    return exportable("cnn_saved_model", folder_of_models)


@pytest.fixture
def written(tmp_path):
    """Has a layout write its files, without the rest of an export: the model is not run."""

    def write(candidate, layout, *, name="shoes", megabytes=100, **parameters):
        exporter = EXPORTERS.get(layout)
        folder = tmp_path / f"written-{len([*tmp_path.iterdir()])}"
        folder.mkdir()
        draft = Draft(
            name, (), (), Vault(None, folder), (), {}, ("numpy",), suffix=".onnx", joined=True,
            resident_bytes=megabytes << 20, parameters=exporter.complete(parameters),
        )  # fmt: skip
        exporter.write(candidate, draft, folder)
        return folder

    return write
