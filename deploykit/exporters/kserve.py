"""KServe: an InferenceService with deploykit's container, or with Triton and the bare ONNX file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.artifact import Manifest
from deploykit.core.errors import SettingError
from deploykit.core.parameter import Parameter
from deploykit.exporters import _open_inference_client
from deploykit.exporters._container.image import EDITABLE, write_image
from deploykit.exporters._container.parameters import PARAMETERS as CONTAINER
from deploykit.exporters._container.sizing import Sizing, sizing
from deploykit.exporters._contract import Draft, Exporter
from deploykit.exporters._fitting import unfitting
from deploykit.exporters._kubernetes.inference_service import (
    PER_CORE,
    Scaling,
    inference_service,
    own_predictor,
    triton_predictor,
)
from deploykit.exporters._kubernetes.parameters import MOST_REPLICAS, replicas
from deploykit.exporters._served import query
from deploykit.exporters._texts import readme
from deploykit.exporters._triton_repository import ACCEPTS, write_repository
from deploykit.exporters._yaml import write_yaml
from deploykit.exporters.triton import ADAPTER as TRITON
from deploykit.measuring.exportable import Exportable

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SERVICE = "kserve/inferenceservice.yaml"
#: Addresses that KServe's storage initializer knows.
_STORAGE = re.compile(r"(?:pvc|s3|gs|https?|hdfs|webhdfs|hf|oci)://[^\s,]+")

_OWN = """\
## Run it

    python lock.py
    docker build -t {image} .
    docker push {image}
    kubectl apply -f kserve/inferenceservice.yaml

The cluster must be able to pull the image: export with `image` and your registry's name, or change it in
`kserve/inferenceservice.yaml`.
"""
_TRITON = """\
## Run it

Copy the folder `{model}` to {storage}, so that `{model}/config.pbtxt` is there, then

    kubectl apply -f kserve/inferenceservice.yaml

**Triton runs the ONNX file alone: its clients must send preprocessed examples** (see the table).
"""
_BOTH = """
To check what runs there, ask it by its address, which `kubectl get inferenceservice {name}` shows:

    deploykit verify . --url http://{name}.NAMESPACE.DOMAIN

A replica is added when one has {concurrency} requests in progress (KServe with Knative); {least} to {most} replicas
run. {canary}{sizes} Files in `kserve/` are yours to change.

"""


class KServe(Exporter):
    """Holds any format with deploykit's container, and ONNX with Triton."""

    name = "kserve"
    bare = True
    label = "KServe"
    place = "clusters"
    help = (
        "Any format with deploykit's container, or ONNX with Triton (runtime=triton): an InferenceService that scales "
        "with the requests in progress."
    )
    requires = ("yaml",)
    parameters = (
        Parameter(
            "runtime",
            "choice",
            "deploykit",
            "What runs the model: deploykit's container, which takes raw examples, or KServe's Triton runtime.",
            choices=("deploykit", "triton"),
        ),
        Parameter(
            "storage",
            "text",
            "",
            "Address to which the repository for Triton is copied; empty: a volume with the model's name, pvc://NAME.",
        ),
        Parameter(
            "canary_percent",
            "int",
            0,
            "Share of the requests that a new revision gets while the last one keeps the others; 0: all, at once.",
            minimum=0,
            maximum=100,
            unit="%",
        ),
        Parameter(
            "concurrency",
            "int",
            0,
            f"Requests in progress in a replica from which on another one is started; 0: {PER_CORE} for each core.",
            minimum=0,
            maximum=100_000,
        ),
        Parameter(
            "min_replicas", "int", 1, "Fewest replicas; 0: none without requests, and the first one waits.", minimum=0,
            maximum=1000,
        ),
        MOST_REPLICAS,
        *CONTAINER,
    )  # fmt: skip
    editable = (*EDITABLE, "kserve/*")

    def write(self, candidate: Exportable, draft: Draft, folder: Path) -> str:
        """Write ``kserve/inferenceservice.yaml``, and what the layout ``container`` does or ``NAME/`` for Triton.

        Raises:
            ExportError: Triton cannot run the file, or the model's name cannot become one of Kubernetes'.
            SettingError: A parameter's value does not fit the others, or is not an address or an image.
        """
        sized = sizing(candidate, draft)
        least, most = replicas(draft, "min_replicas")
        concurrency = int(draft.parameters["concurrency"] or 0) or PER_CORE * sized.cores
        scaling = Scaling(least, most, concurrency, int(draft.parameters["canary_percent"] or 0))
        canary = f"A new revision gets {scaling.canary_percent} % of the requests. " if scaling.canary_percent else ""
        both = _BOTH.format(
            name=sized.name, concurrency=concurrency, least=least, most=most, canary=canary, sizes=sized.words
        )
        (folder / "kserve").mkdir()
        if draft.parameters["runtime"] == "triton":
            return _write_triton(candidate, draft, folder, sized, scaling, both)
        write_yaml(folder / _SERVICE, inference_service(sized, scaling, own_predictor(sized)))
        run = _OWN.format(image=sized.image) + both + query(candidate, draft)
        (folder / "README.md").write_text(readme(candidate, draft, run), encoding="utf-8")
        return write_image(candidate, draft, folder, sized, self.editable)

    def ask(self, url: str, manifest: Manifest, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Ask Triton, which takes preprocessed examples, by the Open Inference Protocol."""
        return _open_inference_client.ask(url, manifest, inputs)


def _write_triton(candidate: Exportable, draft: Draft, folder: Path, sized: Sizing, scaling: Scaling, both: str) -> str:
    if candidate.format not in ACCEPTS:
        reason = f"KServe's Triton runtime takes ONNX, not {candidate.format}"
        raise unfitting(candidate, "triton", reason, ACCEPTS.__contains__)
    storage = str(draft.parameters["storage"]) or f"pvc://{sized.name}"
    if not _STORAGE.fullmatch(storage):
        raise SettingError(
            f"Storage {storage!r} is not an address that KServe knows.", remedy="give one such as s3://bucket/model."
        )
    settings = {**TRITON.complete({}), **draft.parameters}
    model, _ = write_repository(candidate, replace(draft, parameters=settings), folder)
    write_yaml(folder / _SERVICE, inference_service(sized, scaling, triton_predictor(sized, storage)))
    run = _TRITON.format(model=draft.name, storage=f"`{storage}`") + both
    (folder / "README.md").write_text(readme(candidate, draft, run), encoding="utf-8")
    return model


ADAPTER = KServe()
