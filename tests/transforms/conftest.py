import pytest


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Models that several tests transform; `deploykit.testing.work.made` makes each of them once."""
    return tmp_path_factory.mktemp("transforms")
