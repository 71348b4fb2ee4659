import pytest

from deploykit.testing import work


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Models that several tests transform; `deploykit.testing.work.made` makes each of them once."""
    return tmp_path_factory.mktemp("transforms")


@pytest.fixture(scope="session")
def tflite_file(folder):
    """A small CNN; its dense layer holds most weights."""
    target = folder / "wide_cnn.tflite"
    work.converted("keras_to_saved_model", work.made("wide_cnn", folder), folder / "wide_cnn.saved")
    work.converted("saved_model_to_tflite", folder / "wide_cnn.saved", target)
    return target
