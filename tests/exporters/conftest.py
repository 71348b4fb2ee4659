import pytest

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
