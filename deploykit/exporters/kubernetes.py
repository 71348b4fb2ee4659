"""Kubernetes: deploykit's container, and a Kustomize base with overlays for staging and production."""

from __future__ import annotations

from pathlib import Path

from deploykit.exporters._container.image import EDITABLE, write_image
from deploykit.exporters._container.parameters import PARAMETERS as CONTAINER
from deploykit.exporters._container.sizing import sizing
from deploykit.exporters._contract import Draft, Exporter
from deploykit.exporters._kubernetes.objects import CPU_PERCENT, Workload
from deploykit.exporters._kubernetes.parameters import PARAMETERS, replicas
from deploykit.exporters._served import query
from deploykit.exporters._texts import readme
from deploykit.exporters._yaml import write_yaml
from deploykit.measuring.exportable import Exportable

#: Replicas that staging has at most.
_STAGING = 2

_RUN = """\
## Run it

    python lock.py
    docker build -t {image} .
    docker push {image}
    kubectl apply -k kubernetes/overlays/staging
    kubectl apply -k kubernetes/overlays/production

The cluster must be able to pull the image: export with `image` and your registry's name, or change it in
`kubernetes/base/kustomization.yaml`. Each overlay has a namespace of its own name, which must exist:
`kubectl create namespace production`.

To check what runs there:

    kubectl -n production port-forward service/{name} 8501:80
    deploykit verify . --url http://127.0.0.1:8501

{sizes} Replicas are added from {percent} % of the requested cores on:
{least} to {most} in production, 1 to {staging} in staging. The network policy lets in requests from the same namespace
and from a namespace `monitoring`; the pods send none. They meet the Pod Security Standard "restricted".

The server takes requests without tokens: who may reach it is for the network policy. `kubernetes/`, `Dockerfile`,
`.dockerignore`, `compose.yaml` and `monitoring/` are yours to change; the other files are compared with their digests
when the server starts.

"""


class Kubernetes(Exporter):
    """Holds any format."""

    name = "kubernetes"
    label = "Kubernetes"
    place = "clusters"
    help = (
        "Any format: the container and a Kustomize base with overlays: Deployment, Service, autoscaler, disruption "
        "budget and network policy."
    )
    requires = ("yaml",)
    parameters = (*CONTAINER, *PARAMETERS)
    editable = (*EDITABLE, "kubernetes/*")

    def write(self, candidate: Exportable, draft: Draft, folder: Path) -> str:
        """Write what the layout ``container`` does, and ``kubernetes/base`` and ``kubernetes/overlays``.

        Raises:
            SettingError: The image's name is unusable, the memory is less than the model takes, or the most replicas
                are less than the fewest.
            ExportError: The model's name cannot become one of Kubernetes'.
        """
        sized, (least, most) = sizing(candidate, draft), replicas(draft)
        production, staging = Workload(sized, least, most), Workload(sized, 1, min(most, _STAGING))
        objects = production.objects()
        base, overlays = folder / "kubernetes" / "base", folder / "kubernetes" / "overlays"
        base.mkdir(parents=True)
        for name, content in objects.items():
            write_yaml(base / name, content)
        image = {"name": sized.repository, "newName": sized.repository, **({"newTag": sized.tag} if sized.tag else {})}
        images = {} if "@" in sized.image else {"images": [image]}
        write_yaml(base / "kustomization.yaml", {**_HEAD, "resources": sorted(objects), **images})
        _write_overlay(overlays / "staging", "staging", staging)
        _write_overlay(overlays / "production", "production", production)
        run = _RUN.format(
            image=sized.image, name=sized.name, sizes=sized.words, percent=CPU_PERCENT, least=least, most=most,
            staging=staging.most,
        )  # fmt: skip
        (folder / "README.md").write_text(readme(candidate, draft, run + query(candidate, draft)), encoding="utf-8")
        return write_image(candidate, draft, folder, sized, self.editable)


_HEAD = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}


def _write_overlay(folder: Path, name: str, work: Workload) -> None:
    """An overlay with its own namespace and number of replicas."""
    labels = {"pairs": {"app.kubernetes.io/instance": name}, "includeSelectors": True}
    head = {**_HEAD, "namespace": name, "resources": ["../../base"], "labels": [labels]}
    folder.mkdir(parents=True)
    write_yaml(folder / "kustomization.yaml", {**head, "patches": [{"path": "replicas.yaml"}]})
    scaler = work.autoscaler()
    spec = {key: scaler["spec"][key] for key in ("minReplicas", "maxReplicas")}
    write_yaml(folder / "replicas.yaml", {**scaler, "metadata": {"name": work.sized.name}, "spec": spec})


ADAPTER = Kubernetes()
