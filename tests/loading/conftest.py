import shutil
from pathlib import Path

import pytest


@pytest.fixture
def copy(zoo, tmp_path):
    """A private copy of a tiny model, to be damaged."""

    def get(kind, name=""):
        source = zoo(kind)
        target = tmp_path / (name or source.name)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
            data = source.with_name(f"{source.name}.data")
            if data.exists():
                shutil.copyfile(data, tmp_path / data.name)
        return target

    return get


@pytest.fixture
def refused():
    """Load something that must be refused: the error, after checking that it says which file and what to do."""
    from deploykit.loading._load import load

    def check(path, kind, *found, **options):
        with pytest.raises(kind) as caught:
            load(path, **options)
        text = str(caught.value)
        assert str(getattr(path, "name", path)) in text, text
        assert caught.value.remedy, text
        for part in found:
            assert part in text, text
        return caught.value

    return check


@pytest.fixture
def made(monkeypatch):
    """Run a task of ``makers.py`` in a child that has TensorFlow."""
    from deploykit.sandbox.supervisor import shared
    from deploykit.sandbox.task import Task

    monkeypatch.syspath_prepend(str(Path(__file__).parent))

    def make(name, **arguments):
        return shared().run(Task(f"makers:{name}", {k: _plain(v) for k, v in arguments.items()}, group="tensorflow"))

    return make


def _plain(value):
    return str(value) if isinstance(value, Path) else value
