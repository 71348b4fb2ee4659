"""What is run to deploy an artifact, and which files it uses."""

from __future__ import annotations

import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from deploykit.core.serial import Plain


@dataclass(frozen=True)
class DeployCommand(Plain):
    """A command of another tool, run in the artifact's folder.

    Attributes:
        arguments: The program and its arguments.
        why: What it is for.
        files: Files and folders of the artifact that it uses, relative to its folder.
        reaches: What beyond this machine it changes; "" for nothing.

    Example:
        >>> print(dk.types.DeployCommand(("docker", "build", "."), "build the image"))
        docker build .
    """

    arguments: tuple[str, ...]
    why: str
    files: tuple[str, ...] = ()
    reaches: str = ""

    @property
    def program(self) -> str:
        """What is run: this interpreter for Python."""
        name = self.arguments[0]
        return sys.executable if name == Path(sys.executable).name else name

    @property
    def missing(self) -> bool:
        """Whether the program is not installed here."""
        return shutil.which(self.program) is None

    def __str__(self) -> str:
        return shlex.join(self.arguments)


@dataclass(frozen=True)
class Deployment(Plain):
    """How an artifact is deployed.

    Attributes:
        artifact: Its folder.
        way: The way.
        commands: What is run there, in this order.
        remarks: What to know before.
        dry_run: Whether the commands were only shown.

    Example:
        >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
        >>> artifact = dk.export(built, "exported/image", layout="container", name="fashion", overwrite=True)
        >>> deployment = dk.deploy(artifact, "docker")
        >>> [command.arguments[1] for command in deployment.commands], deployment.dry_run
        (['lock.py', 'build', 'compose'], True)
    """

    artifact: str
    way: str
    commands: tuple[DeployCommand, ...]
    remarks: tuple[str, ...] = ()
    dry_run: bool = True

    @property
    def missing(self) -> tuple[str, ...]:
        """Programs that are not installed here."""
        return tuple(dict.fromkeys(c.arguments[0] for c in self.commands if c.missing))

    def __str__(self) -> str:
        lines = [f"cd {shlex.quote(self.artifact)}"]
        for command in self.commands:
            used = f"; uses {', '.join(command.files)}" if command.files else ""
            reaches = f"; changes {command.reaches}" if command.reaches else ""
            lines += [f"# {command.why}{used}{reaches}", str(command)]
        lines += [f"# {remark}" for remark in self.remarks]
        if self.missing:
            lines.append(f"# Not installed here: {', '.join(self.missing)}")
        lines.append("# Nothing was run." if self.dry_run else "# All of it was run.")
        return "\n".join(lines)
