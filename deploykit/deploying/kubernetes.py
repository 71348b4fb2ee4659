"""Kubernetes: build and push the image, and apply an overlay."""

from __future__ import annotations

from collections.abc import Mapping

from deploykit.artifacts.artifact import Artifact
from deploykit.core.parameter import Parameter, Value
from deploykit.deploying._contract import Way, build, image_of, push
from deploykit.deploying._deployment import DeployCommand


class Kubernetes(Way):
    """To the cluster that kubectl is set up for."""

    name = "kubernetes"
    label = "Kubernetes"
    help = "Builds and pushes the image, and applies an overlay to the cluster that kubectl is set up for."
    needs = ("Dockerfile", "lock.py", "compose.yaml", "kubernetes/overlays")
    layouts = ("kubernetes",)
    parameters = (
        Parameter("overlay", "choice", "staging", "Which overlay is applied.", choices=("staging", "production")),
    )

    def commands(self, artifact: Artifact, values: Mapping[str, Value]) -> tuple[DeployCommand, ...]:
        """Lock, build, push and ``kubectl apply``."""
        image, place = image_of(artifact), f"kubernetes/overlays/{values['overlay']}"
        applied = DeployCommand(
            ("kubectl", "apply", "--kustomize", place), "apply the overlay", ("kubernetes/base", place), "the cluster"
        )
        return (*build(artifact, image), *push(image), applied)


ADAPTER = Kubernetes()
