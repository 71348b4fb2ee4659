"""Docker: build the image and start it with its compose file."""

from __future__ import annotations

from collections.abc import Mapping

from deploykit.artifacts.artifact import Artifact
from deploykit.core.parameter import Parameter, Value
from deploykit.deploying._contract import Way, build, image_of, push
from deploykit.deploying._deployment import DeployCommand


class Docker(Way):
    """On this machine."""

    name = "docker"
    label = "Docker"
    help = "Builds the image and starts it on this machine, with Prometheus and Grafana."
    needs = ("Dockerfile", "lock.py", "compose.yaml")
    layouts = ("container",)
    parameters = (Parameter("push", "bool", False, "Push the image to its registry, if its name has one."),)

    def commands(self, artifact: Artifact, values: Mapping[str, Value]) -> tuple[DeployCommand, ...]:
        """Lock, build, push if asked, and ``docker compose up``."""
        image = image_of(artifact)
        start = DeployCommand(
            ("docker", "compose", "up", "--detach"), "start model, Prometheus and Grafana",
            ("compose.yaml", "monitoring"),
        )  # fmt: skip
        return (*build(artifact, image), *(push(image) if values["push"] else ()), start)


ADAPTER = Docker()
