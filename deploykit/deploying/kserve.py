"""KServe: build and push the image, where there is one, and apply the InferenceService."""

from __future__ import annotations

from collections.abc import Mapping

from deploykit.artifacts.artifact import Artifact
from deploykit.core.parameter import Value
from deploykit.deploying._contract import Way, build, image_of, push
from deploykit.deploying._deployment import DeployCommand

_SERVICE = "kserve/inferenceservice.yaml"


class KServe(Way):
    """To the cluster that kubectl is set up for."""

    name = "kserve"
    label = "KServe"
    help = "Builds and pushes the image, unless Triton runs the model, and applies the InferenceService."
    needs = (_SERVICE,)
    layouts = ("kserve",)

    def commands(self, artifact: Artifact, values: Mapping[str, Value]) -> tuple[DeployCommand, ...]:
        """Lock, build, push and ``kubectl apply``."""
        applied = DeployCommand(
            ("kubectl", "apply", "--filename", _SERVICE), "apply the InferenceService", (_SERVICE,), "the cluster"
        )
        if artifact.manifest.parameters.get("runtime") == "triton":
            return (applied,)
        image = image_of(artifact)
        return (*build(artifact, image), *push(image), applied)


ADAPTER = KServe()
