"""``dk.deploy``: show what deploys an artifact, and run it only when that is asked for."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from deploykit.artifacts.artifact import Artifact
from deploykit.core.errors import ExportError
from deploykit.core.parameter import Value
from deploykit.deploying._contract import WAYS
from deploykit.deploying._deployment import Deployment


def deploy(
    artifact: Artifact | str | Path,
    way: str,
    *,
    dry_run: bool = True,
    parameters: Mapping[str, Value] | None = None,
) -> Deployment:
    """Show the commands that deploy an artifact, or run them.

    Nothing is built, pushed or applied unless ``dry_run`` is False. Then the artifact's digests are compared first,
    and the commands run one after the other in its folder; the first one that fails ends it. Credentials are never
    read: the tools find their own.

    Args:
        artifact: The artifact or its folder.
        way: ``"docker"``, ``"kubernetes"``, ``"helm"`` or ``"kserve"``. The artifact's layout must have its files.
        dry_run: Show only.
        parameters: Settings of the way, for example ``{"overlay": "production"}`` of ``"kubernetes"``.

    Returns:
        The commands, and what they use.

    Raises:
        ExportError: The artifact lacks files that are needed or has changed, a tool is not installed, or a command
            failed.
        SettingError: The way or a parameter is unknown, or a value out of range.

    Example:
        >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
        >>> artifact = dk.export(built, "exported/clustered", layout="kubernetes", name="fashion", overwrite=True)
        >>> print(dk.deploy(artifact, "kubernetes").commands[-1])
        kubectl apply --kustomize kubernetes/overlays/staging
    """
    opened = Artifact.of(artifact)
    chosen = WAYS.get(way)
    values = chosen.complete(parameters or {})
    chosen.check(opened)
    commands = chosen.commands(opened, values)
    reaches = any(command.reaches for command in commands)
    pushes = any(command.arguments[:2] == ("docker", "push") for command in commands)
    remarks = (
        ["The image's name has no registry: the cluster must find it by itself."] if reaches and not pushes else []
    )
    plan = Deployment(str(opened.path), way, commands, tuple(remarks))
    if not dry_run:
        _run(opened, plan)
    return replace(plan, dry_run=dry_run)


def _run(artifact: Artifact, plan: Deployment) -> None:
    if problems := artifact.problems():
        raise ExportError(
            f"{artifact.path} has changed since it was exported: {' '.join(problems)}", remedy="export it again."
        )
    if plan.missing:
        raise ExportError(
            f"Not installed here: {', '.join(plan.missing)}. Nothing was run.",
            remedy=f"install it, or run the commands where it is: deploykit deploy {artifact.path} {plan.way}.",
        )
    for number, command in enumerate(plan.commands):
        line = [command.program, *command.arguments[1:]]
        done = subprocess.run(line, cwd=artifact.path, check=False)  # noqa: S603  what was shown
        if done.returncode:
            rest = len(plan.commands) - number - 1
            raise ExportError(
                f"{command} ended with exit status {done.returncode}; {rest} of {len(plan.commands)} commands were not "
                "run.",
                remedy="see its messages above.",
            )
