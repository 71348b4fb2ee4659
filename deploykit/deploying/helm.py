"""Helm: build and push the image, and install the chart or upgrade it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from deploykit.artifacts.artifact import Artifact
from deploykit.core.errors import SettingError
from deploykit.core.parameter import Parameter, Value
from deploykit.deploying._contract import Way, build, image_of, push, said
from deploykit.deploying._deployment import DeployCommand

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,51}[a-z0-9])?")


class Helm(Way):
    """To the cluster that Helm is set up for."""

    name = "helm"
    label = "Helm"
    help = "Builds and pushes the image, and installs the chart in the cluster that Helm is set up for."
    needs = ("Dockerfile", "lock.py", "compose.yaml", "chart/Chart.yaml")
    layouts = ("helm",)
    parameters = (
        Parameter("release", "text", "", "Name of the release; empty: the chart's."),
        Parameter("namespace", "text", "", "Namespace; empty: the one that Helm is set up for."),
    )

    def commands(self, artifact: Artifact, values: Mapping[str, Value]) -> tuple[DeployCommand, ...]:
        """Lock, build, push and ``helm upgrade --install``.

        Raises:
            SettingError: A name is not one of Kubernetes'.
        """
        image, given = image_of(artifact), {name: str(values[name]) for name in ("release", "namespace")}
        for name, value in given.items():
            if value and not _NAME.fullmatch(value):
                raise SettingError(
                    f"The {name} {value!r} is not a name of Kubernetes.", remedy="use lower case, digits and '-'."
                )
        release = given["release"] or said(artifact, "chart/Chart.yaml", "name")
        where = ("--namespace", given["namespace"]) if given["namespace"] else ()
        installed = DeployCommand(
            ("helm", "upgrade", "--install", release, "chart", *where), "install the chart, or upgrade it", ("chart",),
            "the cluster",
        )  # fmt: skip
        return (*build(artifact, image), *push(image), installed)


ADAPTER = Helm()
