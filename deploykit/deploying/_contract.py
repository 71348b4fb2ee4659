"""What a way of deploying is: it names commands, and never runs one itself."""

from __future__ import annotations

import re
import sys
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from deploykit.artifacts.artifact import Artifact
from deploykit.core.adapter import Adapter
from deploykit.core.errors import ExportError
from deploykit.core.extras import require
from deploykit.core.files import read_small
from deploykit.core.parameter import Parameter, Value, complete
from deploykit.core.registry import Registry
from deploykit.deploying._deployment import DeployCommand

_MOST_BYTES = 1 << 20
_LOCK = "requirements.lock"
_HAS_REGISTRY = re.compile(r"(?:localhost|[^/]*[.:][^/]*)/")


class Way(Adapter):
    """A way of deploying.

    Attributes:
        parameters: Its settings.
        needs: Files and folders of an artifact that it uses; an artifact without one of them cannot be deployed so.
        layouts: Layouts that write them, for messages.
    """

    parameters: ClassVar[tuple[Parameter, ...]] = ()
    needs: ClassVar[tuple[str, ...]] = ()
    layouts: ClassVar[tuple[str, ...]] = ()

    def complete(self, given: Mapping[str, Any]) -> dict[str, Value]:
        """All parameters with their values.

        Raises:
            SettingError: An unknown parameter or a bad value.
        """
        return complete(self.parameters, dict(given), self.name)

    def check(self, artifact: Artifact) -> None:
        """Raise `ExportError` when the artifact lacks a file that it uses."""
        if absent := [name for name in self.needs if not (artifact.path / name).exists()]:
            raise ExportError(
                f"{artifact.path} has the layout {artifact.manifest.layout} and no {', '.join(absent)}, which "
                f"{self.label} needs.",
                remedy=f"export with layout={' or '.join(map(repr, self.layouts))}.",
            )

    @abstractmethod
    def commands(self, artifact: Artifact, values: Mapping[str, Value]) -> tuple[DeployCommand, ...]:
        """The commands, in their order.

        Args:
            artifact: It has the files that are needed.
            values: Values of all parameters.
        """


def image_of(artifact: Artifact) -> str:
    """The name of an artifact's image, as its compose file says it."""
    return said(artifact, "compose.yaml", "services", "model", "image")


def said(artifact: Artifact, name: str, *keys: str) -> str:
    """A text in a YAML file of an artifact, which may have been changed since the export.

    Args:
        artifact: The artifact.
        name: The file, relative to its folder.
        keys: Where the text is.

    Raises:
        ExportError: The file cannot be read or has no such text.
    """
    yaml = require("yaml", "")
    file = artifact.path / name
    try:
        content = yaml.safe_load(read_small(file, _MOST_BYTES, name, ExportError))
        for key in keys:
            content = content[key]
    except (yaml.YAMLError, KeyError, TypeError, RecursionError) as error:
        raise ExportError(f"{file} has no {'.'.join(keys)}.", remedy="put it back, or export again.") from error
    return str(content)


def build(artifact: Artifact, image: str) -> tuple[DeployCommand, ...]:
    """Commands that lock the requirements, unless that was done, and build the image."""
    lock = DeployCommand(
        (Path(sys.executable).name, "lock.py"), "ask the package index for the hashes of all that is installed",
        ("lock.py", "requirements.txt", "constraints.txt"),
    )  # fmt: skip
    made = DeployCommand(
        ("docker", "build", "--tag", image, "."), "build the image", ("Dockerfile", ".dockerignore", _LOCK)
    )
    return (made,) if (artifact.path / _LOCK).is_file() else (lock, made)


def push(image: str) -> tuple[DeployCommand, ...]:
    """The command that brings an image to its registry; none where its name has no registry."""
    if not _HAS_REGISTRY.match(image):
        return ()
    return (DeployCommand(("docker", "push", image), "push the image to its registry", reaches="its registry"),)


WAYS: Registry[Way] = Registry("deploykit.deploying", "way of deploying")
