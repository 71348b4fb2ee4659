import subprocess
import sys
import textwrap

import pytest

from deploykit.core.errors import MissingExtraError, SettingError
from deploykit.core.registry import Registry

ADAPTER = """
class {cls}:
    name = {name!r}

ADAPTER = {cls}()
"""


@pytest.fixture
def package(tmp_path, monkeypatch, request):
    """A package of adapters under a name of its own, so that import caches do not meet."""
    name = f"adapters_{abs(hash(request.node.name))}"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def write(package, file, name=None):
    (package / f"{file}.py").write_text(ADAPTER.format(cls=file.title(), name=name or file))


def entry_point(package, name, value):
    info = package.parent / "plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{package.name}]\n{name} = {value}\n")


def test_listing_names_the_files_and_imports_none(package):
    write(package, "beta")
    write(package, "alpha")
    (package / "_helper.py").write_text("raise RuntimeError('a helper is not an adapter')")
    (package / "broken.py").write_text("raise RuntimeError('listing must not import')")
    (package / "folder").mkdir()
    (package / "folder" / "__init__.py").write_text("")
    registry = Registry(package.name, "thing")
    assert registry.names() == ("alpha", "beta", "broken")
    assert "alpha" in registry
    assert "_helper" not in registry
    assert not [m for m in sys.modules if m.startswith(f"{package.name}.")]


def test_get_gives_the_adapter(package):
    write(package, "alpha")
    assert Registry(package.name, "thing").get("alpha").name == "alpha"


def test_an_unknown_name_lists_the_known(package):
    write(package, "alpha")
    with pytest.raises(SettingError, match=r"Unknown thing 'alpa'\. Remedy: did you mean 'alpha'\? known: alpha"):
        Registry(package.name, "thing").get("alpa")


def test_a_file_and_its_adapter_have_one_name(package):
    write(package, "alpha", name="omega")
    with pytest.raises(SettingError, match=r"the adapter's name is 'omega', its file says 'alpha'"):
        Registry(package.name, "thing").get("alpha")


def test_a_file_without_an_adapter(package):
    (package / "alpha.py").write_text("")
    with pytest.raises(SettingError, match=r"alpha defines no ADAPTER.*end the file with ADAPTER = …"):
        Registry(package.name, "thing").get("alpha")


def test_a_missing_extra_hides_one_adapter_only(package):
    write(package, "alpha")
    (package / "beta.py").write_text(
        "from deploykit.core.extras import require\nrequire('no_such_package_at_all', 'tensorflow')\n"
    )
    registry = Registry(package.name, "thing")
    assert [a.name for a in registry.all()] == ["alpha"]
    with pytest.raises(MissingExtraError, match=r"pip install 'deploykit\[tensorflow\]'"):
        registry.get("beta")


def test_an_installed_package_adds_an_adapter(package):
    write(package, "alpha")
    outside = package.parent / f"outside_{package.name}.py"
    outside.write_text(ADAPTER.format(cls="Gamma", name="gamma"))
    entry_point(package, "gamma", f"{outside.stem}:ADAPTER")
    registry = Registry(package.name, "thing")
    assert registry.names() == ("alpha", "gamma")
    assert registry.get("gamma").name == "gamma"


def test_two_adapters_of_one_name_are_an_error(package):
    write(package, "alpha")
    entry_point(package, "alpha", "somewhere.else:ADAPTER")
    with pytest.raises(SettingError, match=r"Two things are called 'alpha'.*somewhere\.else:ADAPTER"):
        Registry(package.name, "thing").names()


def test_a_new_file_in_a_real_registry_is_found_unasked(tmp_path):
    """A runtime is one file: dropped into the package's path it is listed, opened and named on errors."""
    (tmp_path / "reversing.py").write_text(
        textwrap.dedent(
            """
            from deploykit.runtimes._contract import Device, Runtime

            class Reversing(Runtime):
                name = "reversing"
                label = "Reversing"
                accepts = frozenset({"onnx"})

                def devices(self):
                    return (Device("cpu", True),)

                def _open(self, path, target):
                    raise AssertionError

            ADAPTER = Reversing()
            """
        )
    )
    code = textwrap.dedent(
        f"""
        import deploykit.runtimes
        deploykit.runtimes.__path__.append({str(tmp_path)!r})
        from deploykit.runtimes._contract import RUNTIMES
        assert "reversing" in RUNTIMES.names()
        assert RUNTIMES.get("reversing").devices()[0].available
        """
    )
    subprocess.run([sys.executable, "-c", code], check=True)
