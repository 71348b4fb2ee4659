"""Vertex AI: a custom container of deploykit's server, and the model resource that names its routes.

Source: Vertex AI's documentation of custom container requirements, and its API's resource ``Model``.
"""

from __future__ import annotations

import json
import urllib.parse
from pathlib import Path

from deploykit.core.parameter import Parameter
from deploykit.exporters._contract import Draft, Exporter
from deploykit.exporters._hosted import write_model, write_requirements
from deploykit.exporters._served import python
from deploykit.exporters._texts import readme
from deploykit.measuring.exportable import Exportable

_DOCKERFILE = """\
FROM python:{python}-slim
WORKDIR /srv
COPY requirements.txt *.whl ./
RUN pip install --no-cache-dir -r requirements.txt
COPY . artifact
USER nobody
EXPOSE {port}
# Vertex AI says in AIP_HTTP_PORT where it asks.
CMD ["sh", "-c", "exec deploykit serve artifact --host 0.0.0.0 --port ${{AIP_HTTP_PORT:-{port}}} --insecure"]
"""

_RUN = """\
## Try it here

    pip install -r requirements.txt
    deploykit serve . --port {port}
    deploykit verify . --url http://127.0.0.1:{port}
    curl -H 'Content-Type: application/json' -d '{{"instances": [...]}}' http://127.0.0.1:{port}{predict}

## Deploy it

    docker build -t {image} . && docker push {image}
    gcloud ai models upload --region=REGION --display-name={name} --container-image-uri={image} \\
        --container-ports={port} --container-predict-route={predict} --container-health-route={health}
    gcloud ai endpoints create --region=REGION --display-name={name}
    gcloud ai endpoints deploy-model ENDPOINT --region=REGION --model=MODEL --display-name={name}

`model.json` says the same as the API's resource `Model`, for `projects.locations.models.upload`. The server takes raw
examples as Vertex AI sends them, `{{"instances": [...]}}`, and does the preprocessing itself. Nothing here reads your
credentials; `gcloud` does.
"""


class VertexAI(Exporter):
    """Holds any format."""

    name = "vertexai"
    label = "Vertex AI"
    place = "clouds"
    help = "Any format: a custom container of deploykit's server for Vertex AI, and model.json with its routes."
    parameters = (
        Parameter("image", "text", "", "Name of the image, with its registry; empty: REGISTRY/NAME to be replaced."),
        Parameter("port", "int", 8080, "Port on which Vertex AI asks.", minimum=1024, maximum=65535),
    )

    def write(self, candidate: Exportable, draft: Draft, folder: Path) -> str:
        """Write the model, requirements, ``Dockerfile``, ``model.json`` and ``README.md``."""
        model = write_model(candidate, draft, folder)
        write_requirements(draft, folder)
        port = draft.parameters["port"]
        image = draft.parameters["image"] or f"REGION-docker.pkg.dev/PROJECT/REPOSITORY/{draft.name.lower()}"
        health = f"/v1/models/{urllib.parse.quote(draft.name)}"
        predict = f"{health}:predict"
        container = {
            "imageUri": image,
            "ports": [{"containerPort": port}],
            "predictRoute": predict,
            "healthRoute": health,
        }
        resource = {"displayName": draft.name, "containerSpec": container}
        (folder / "model.json").write_text(json.dumps({"model": resource}, indent=2) + "\n", encoding="utf-8")
        dockerfile = _DOCKERFILE.format(python=python(), port=port)
        (folder / "Dockerfile").write_text(dockerfile, encoding="utf-8")
        run = _RUN.format(image=image, name=draft.name, port=port, predict=predict, health=health)
        (folder / "README.md").write_text(readme(candidate, draft, run), encoding="utf-8")
        return model


ADAPTER = VertexAI()
