"""A wheel of deploykit as it runs here, for an artifact's folder: what serves it needs no index that has deploykit.

It holds what serving takes: no notebooks, nothing of JupyterLab, and nothing that makes candidates. So that pip neither
takes it for a release nor takes a release for it, its version has a local part, which indexes refuse. The same code
gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from deploykit._version import __version__
from deploykit.core.errors import ExportError
from deploykit.core.extras import EXTRAS, SERVER, distribution, version
from deploykit.runtimes._contract import Runtime

VERSION = f"{__version__}{SERVER}"
#: Packages of deploykit that serving does not take: a container should be small. Who asks for one of them there learns
#: of it from `deploykit.core.extras.explained`.
LEFT_OUT = frozenset({
    "_notebooks", "deploying", "planning", "surgery", "sweeping", "testing", "trackers", "training", "transforms",
    "updating",
})  # fmt: skip
#: The extras that need what is left out.
_EXTRAS_LEFT_OUT = frozenset({"jupyter", "all"})
_WHEEL = f"Wheel-Version: 1.0\nGenerator: deploykit {__version__}\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_TIME = (1980, 1, 1, 0, 0, 0)


def write_wheel(folder: Path) -> str:
    """Pack the wheel into a folder and return its name.

    Raises:
        ExportError: deploykit is imported from a folder that is neither an installation nor a checkout.
    """
    root = Path(__file__).parents[1]
    stamps = tuple((name, *_stamp(root / name)) for name in _members(root))
    wheel = f"deploykit-{VERSION}-py3-none-any.whl"
    (folder / wheel).write_bytes(_packed(root, stamps, tuple(_information(root.parent).items())))
    return wheel


@lru_cache(maxsize=1)
def _packed(root: Path, stamps: tuple[tuple[str, int, int], ...], information: tuple[tuple[str, str], ...]) -> bytes:
    """The wheel's bytes. Packing takes a quarter of a second: it is kept until a file or its metadata change."""
    info = f"deploykit-{VERSION}.dist-info"
    contents = {f"deploykit/{name}": (root / name).read_bytes() for name, _, _ in stamps}
    contents |= {f"{info}/{name}": text.encode() for name, text in information}
    record = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in contents.items()]
    contents[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in contents.items():
            member = zipfile.ZipInfo(name, _TIME)
            member.compress_type, member.create_system, member.external_attr = zipfile.ZIP_DEFLATED, 3, 0o100644 << 16
            archive.writestr(member, data)
    return packed.getvalue()


def _stamp(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_mtime_ns, found.st_size


def requirements(runtime: Runtime, also: Sequence[str] = ()) -> tuple[str, ...]:
    """What runs an artifact, in the versions that it was measured with: deploykit, numpy and the runtime.

    The runtime's extra is named where it holds nothing else: not for TensorFlow's, which converts as well, nor for a
    build of ONNX Runtime for GPUs, which must not be joined by the one for CPUs. Builds that only one index has
    (``torch 2.13.0+cpu``) are asked for by their version alone.

    Args:
        runtime: What runs the model.
        also: Import names of further packages that serving it takes.
    """
    import numpy as np

    versions = runtime.versions()
    held = {distribution(module) for module in EXTRAS.get(runtime.extra, ())}
    extra = f"[{runtime.extra}]" if held and held <= versions.keys() else ""
    others = {distribution(module): version(module) for module in also}
    pinned = sorted({"numpy": np.__version__, **versions, **others}.items())
    lines = (f"{name}=={found.partition('+')[0]}" for name, found in pinned if found)
    return (f"deploykit{extra}=={VERSION}", *lines)


def server_requirements() -> list[str]:
    """What the wheel itself requires, as its metadata say it."""
    lines, _ = _of_checkout(Path(__file__).parents[2]) or _of_installation()
    return [value for name, _, value in (line.partition(": ") for line in lines) if name == "Requires-Dist"]


def _members(root: Path) -> list[str]:
    paths = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    taken = (path for path in paths if path.parts[0] not in LEFT_OUT and "__pycache__" not in path.parts)
    return sorted(path.as_posix() for path in taken if not any(part.startswith(".") for part in path.parts))


def _information(beside: Path) -> dict[str, str]:
    """The files of the metadata by name; ``beside`` is where the package lies."""
    lines, found = _of_checkout(beside) or _of_installation()
    own = (
        "Metadata-Version: 2.4", "Name: deploykit", f"Version: {VERSION}", "License-Expression: BSD-3-Clause",
        "License-File: LICENSE",
    )  # fmt: skip
    return {"METADATA": "".join(f"{line}\n" for line in (*own, *lines)), "WHEEL": _WHEEL, **found}


def _of_checkout(folder: Path) -> tuple[list[str], dict[str, str]] | None:
    """Lines for METADATA and further files by what a checkout declares now; None if this is not one.

    What an editable installation has noted when it was made may be out of date.
    """
    file = folder / "pyproject.toml"
    project: dict[str, Any] = tomllib.loads(file.read_text("utf-8")).get("project", {}) if file.is_file() else {}
    if project.get("name") != "deploykit":
        return None
    scripts = "".join(f"{name} = {place}\n" for name, place in project["scripts"].items())
    return [
        f"Requires-Python: {project['requires-python']}",
        *(f"Requires-Dist: {requirement}" for requirement in project["dependencies"]),
        *_of_extras(project["optional-dependencies"]),
    ], {
        "entry_points.txt": f"[console_scripts]\n{scripts}",
        "licenses/LICENSE": (folder / "LICENSE").read_text("utf-8"),
    }


def _of_extras(declared: Mapping[str, list[str]]) -> Iterator[str]:
    for extra, requirements in declared.items():
        if extra in _EXTRAS_LEFT_OUT:
            continue
        yield f"Provides-Extra: {extra}"
        for package, _, marker in (requirement.partition(";") for requirement in requirements):
            also = f"({marker.strip()}) and " if marker else ""
            yield f"Requires-Dist: {package.strip()}; {also}extra == '{extra}'"


def _of_installation() -> tuple[list[str], dict[str, str]]:
    try:
        installed = importlib.metadata.distribution("deploykit")
    except importlib.metadata.PackageNotFoundError as error:
        raise ExportError("The package deploykit is not installed.", remedy="install it with pip.") from error
    metadata: Any = installed.metadata
    lines = []
    for name, value in metadata.items():
        extra = value if name == "Provides-Extra" else value.partition("extra == ")[2].strip("'\"")
        if name in ("Requires-Python", "Requires-Dist", "Provides-Extra") and extra not in _EXTRAS_LEFT_OUT:
            lines.append(f"{name}: {value}")
    names = ("entry_points.txt", "licenses/LICENSE")
    return lines, {name: text for name in names if (text := installed.read_text(name))}


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
