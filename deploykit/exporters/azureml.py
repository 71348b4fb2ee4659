"""Azure Machine Learning: a managed online deployment with a scoring script.

Source: Azure Machine Learning's documentation of the YAML schemas of managed online endpoints and deployments, and of
scoring scripts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.artifact import Manifest
from deploykit.core.errors import ExportError
from deploykit.core.parameter import Parameter
from deploykit.exporters._contract import Draft, Exporter
from deploykit.exporters._hosted import ask_json, write_model, write_requirements
from deploykit.exporters._served import python
from deploykit.exporters._texts import readme
from deploykit.exporters._yaml import write_yaml
from deploykit.measuring.exportable import Exportable

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What calls the scoring script; the layout was proved with 1.5.
_SERVER = "azureml-inference-server-http>=1.5,<2"
_SCHEMAS = "https://azuremlschemas.azureedge.net/latest"
#: What Azure takes for names of endpoints and models.
_ENDPOINT = re.compile(r"[a-z][a-z0-9-]{1,30}[a-z0-9]")

_SCORE = '''\
"""Scores with the model of this folder in Azure Machine Learning, by deploykit, which the environment installs."""

import json
import os
from pathlib import Path

from azureml_inference_server_http.api.aml_response import AMLResponse
from deploykit.core.errors import RequestError
from deploykit.serving.hosted import HostedModel


def init() -> None:
    """Open the model, once; refused if it has changed, or does not reproduce the golden outputs."""
    global model
    home = Path(os.environ["AZUREML_MODEL_DIR"])
    if not (home / "manifest.json").is_file():  # Azure keeps a registered folder under its own name
        (home,) = (path.parent for path in home.glob("*/manifest.json"))
    model = HostedModel(home)


def run(raw_data: str) -> AMLResponse:
    """Outputs by name for ``{"inputs": {NAME: [...]}}``, raw examples, batch first."""
    try:
        return AMLResponse({"outputs": model.lists(json.loads(raw_data)["inputs"])}, 200, json_str=True)
    except (RequestError, ValueError) as error:
        return AMLResponse({"error": str(error)}, 400, json_str=True)
    except (KeyError, TypeError):
        return AMLResponse({"error": 'Expected {"inputs": {NAME: [...]}}.'}, 400, json_str=True)
'''

_DOCKERFILE = """\
FROM python:{python}-slim
COPY . /environment
RUN pip install --no-cache-dir -r /environment/requirements.txt
EXPOSE 5001
CMD ["azmlinfsrv", "--entry_script", "/environment/score.py", "--port", "5001"]
"""

_RUN = """\
## Try it here

    pip install -r environment/requirements.txt
    azmlinfsrv --entry_script environment/score.py --model_dir . --port 5001
    deploykit verify . --url http://127.0.0.1:5001

Inputs are raw examples: deploykit, whose wheel is in `environment`, does the preprocessing.

    curl -H 'Content-Type: application/json' -d '{{"inputs": {{"{first}": [...]}}}}' http://127.0.0.1:5001/score

## Deploy it

    az ml online-endpoint create --file endpoint.yml
    az ml online-deployment create --file deployment.yml --all-traffic

The deployment registers this folder as the model `{name}` and builds the image in `environment`. Nothing here reads
your credentials; `az` does.
"""


class AzureML(Exporter):
    """Holds any format."""

    name = "azureml"
    label = "Azure ML"
    place = "clouds"
    help = (
        "Any format: a managed online deployment for Azure Machine Learning, whose scoring script answers with "
        "preprocessing done."
    )
    requires = ("yaml",)
    parameters = (
        Parameter("instance", "text", "Standard_DS3_v2", "Kind of the machine."),
        Parameter("instances", "int", 1, "Number of machines.", minimum=1, maximum=1000),
        Parameter("requests", "int", 1, "Requests that a machine takes at the same time.", minimum=1, maximum=10_000),
    )

    def write(self, candidate: Exportable, draft: Draft, folder: Path) -> str:
        """Write ``endpoint.yml``, ``deployment.yml``, ``environment/``, ``model/`` and ``README.md``.

        Raises:
            ExportError: The name is none for an endpoint.
        """
        endpoint = re.sub(r"[^a-z0-9]+", "-", draft.name.lower()).strip("-")
        if not _ENDPOINT.fullmatch(endpoint):
            raise ExportError(
                f"{draft.name!r} cannot be an endpoint of Azure: expected 3 to 32 letters, digits and hyphens, with a "
                "letter first.",
                remedy="choose one with name=.",
            )
        model = write_model(candidate, draft, folder, "model/")
        home = folder / "environment"
        home.mkdir()
        write_requirements(draft, home, [_SERVER])
        (home / "Dockerfile").write_text(_DOCKERFILE.format(python=python()), encoding="utf-8")
        (home / "score.py").write_text(_SCORE, encoding="utf-8")
        write_yaml(
            folder / "endpoint.yml",
            {"$schema": f"{_SCHEMAS}/managedOnlineEndpoint.schema.json", "name": endpoint, "auth_mode": "key"},
        )
        routes = {
            "liveness_route": {"path": "/", "port": 5001},
            "readiness_route": {"path": "/", "port": 5001},
            "scoring_route": {"path": "/score", "port": 5001},
        }
        write_yaml(
            folder / "deployment.yml",
            {
                "$schema": f"{_SCHEMAS}/managedOnlineDeployment.schema.json",
                "name": "blue",
                "endpoint_name": endpoint,
                "model": {"name": endpoint, "path": ".", "type": "custom_model"},
                "environment": {
                    "name": endpoint,
                    "build": {"path": "environment", "dockerfile_path": "Dockerfile"},
                    "inference_config": routes,
                },
                "instance_type": draft.parameters["instance"],
                "instance_count": draft.parameters["instances"],
                "request_settings": {"max_concurrent_requests_per_instance": draft.parameters["requests"]},
            },
        )
        run = _RUN.format(first=draft.inputs[0].name, name=endpoint)
        (folder / "README.md").write_text(readme(candidate, draft, run), encoding="utf-8")
        return model

    def ask(self, url: str, manifest: Manifest, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Ask Azure's scoring server, which takes raw examples."""
        return ask_json(url, manifest, inputs, path="/score", sent="inputs", found="outputs")


ADAPTER = AzureML()
