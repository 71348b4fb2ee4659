"""BentoML: a service for any format.

Source: BentoML's documentation of services and of its build options (``bentofile.yaml``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.artifact import Manifest
from deploykit.core.parameter import Parameter
from deploykit.exporters._contract import Draft, Exporter
from deploykit.exporters._hosted import ask_json, write_model, write_requirements
from deploykit.exporters._texts import readme
from deploykit.exporters._yaml import write_yaml
from deploykit.measuring.exportable import Exportable

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What runs the folder; the layout was proved with 1.4.
_BENTOML = "bentoml>=1.4,<2"

_SERVICE = '''\
"""Serves the model of this folder in BentoML, by deploykit, whose wheel lies beside this file."""

from pathlib import Path
from typing import Any

import bentoml
from bentoml.exceptions import InvalidArgument
from deploykit.core.errors import RequestError
from deploykit.serving.hosted import HostedModel


@bentoml.service(name="{name}", workers={workers})
class Service:
    """Checked when it is loaded: digests, and golden outputs."""

    def __init__(self) -> None:
        self._model = HostedModel(Path(__file__).parent)

    @bentoml.api
    def predict(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Outputs by name, for raw examples by input name, batch first."""
        try:
            return self._model.lists(inputs)
        except RequestError as error:
            raise InvalidArgument(str(error)) from error
'''

_RUN = """\
## Run it

    pip install -r requirements.txt
    bentoml serve service:Service
    deploykit verify . --url http://127.0.0.1:3000

Inputs are raw examples: deploykit's wheel, which is in this folder, does the preprocessing. The model is checked when
BentoML loads it: if its files have changed, or it does not reproduce the golden outputs, it is refused.

    curl -H 'Content-Type: application/json' -d '{{"inputs": {{"{first}": [...]}}}}' http://127.0.0.1:3000/predict

`bentoml build` makes a bento of the folder, as `bentofile.yaml` says. BentoML reports its use to its makers unless
`BENTOML_DO_NOT_TRACK=True` is set.
"""


class BentoML(Exporter):
    """Holds any format."""

    name = "bentoml"
    label = "BentoML"
    help = "Any format: service.py and bentofile.yaml for BentoML, whose /predict answers with preprocessing done."
    requires = ("yaml",)
    parameters = (Parameter("workers", "int", 1, "Processes that run the model.", minimum=1, maximum=1024),)

    def write(self, candidate: Exportable, draft: Draft, folder: Path) -> str:
        """Write ``service.py``, ``bentofile.yaml``, ``model/``, requirements and ``README.md``."""
        model = write_model(candidate, draft, folder, "model/")
        wheel = write_requirements(draft, folder, [_BENTOML])
        name = draft.name.lower().rstrip("._-")  # what BentoML takes for a name
        service = _SERVICE.format(name=name, workers=draft.parameters["workers"])
        (folder / "service.py").write_text(service, encoding="utf-8")
        build = {
            "service": "service:Service",
            "include": ["service.py", "manifest.json", "model/", "golden/"],
            "python": {
                "packages": [_BENTOML, *(line for line in draft.requirements if not line.startswith("deploykit"))],
                "wheels": [wheel],
                "lock_packages": False,
            },
        }
        write_yaml(folder / "bentofile.yaml", build)
        run = _RUN.format(first=draft.inputs[0].name)
        (folder / "README.md").write_text(readme(candidate, draft, run), encoding="utf-8")
        return model

    def ask(self, url: str, manifest: Manifest, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Ask BentoML, which takes raw examples."""
        return ask_json(url, manifest, inputs, path="/predict", sent="inputs", found="")


ADAPTER = BentoML()
