"""SageMaker: what a model archive holds for the containers that AWS provides.

Source: the documentation of SageMaker's inference toolkit, and of models for real-time endpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.artifact import Manifest
from deploykit.exporters._contract import Draft, Exporter
from deploykit.exporters._hosted import ask_json, write_model, write_requirements
from deploykit.exporters._served import python
from deploykit.exporters._texts import readme
from deploykit.measuring.exportable import Exportable

if TYPE_CHECKING:
    from numpy.typing import NDArray

_INFERENCE = '''\
"""Answers with the model of this archive in SageMaker, by deploykit, whose wheel lies beside this file."""

import json

from deploykit.core.errors import RequestError
from deploykit.serving.hosted import HostedModel
from sagemaker_inference.errors import BaseInferenceToolkitError


def model_fn(model_dir, *_):
    """Open the model, once; refused if it has changed, or does not reproduce the golden outputs."""
    return HostedModel(model_dir)


def input_fn(input_data, content_type, *_):
    """Raw examples by input name, batch first, of ``{"inputs": {NAME: [...]}}``."""
    if content_type.partition(";")[0].strip() != "application/json":
        raise _refusal(415, f"Expected application/json, got {content_type}.")
    try:
        return json.loads(input_data)["inputs"]
    except (ValueError, KeyError, TypeError) as error:
        raise _refusal(400, 'Expected {"inputs": {NAME: [...]}}.') from error


def predict_fn(data, model, *_):
    """Outputs by name."""
    try:
        return model.lists(data)
    except RequestError as error:
        raise _refusal(400, str(error)) from error


def output_fn(prediction, accept, *_):
    """JSON, whatever else would be accepted as well."""
    return json.dumps({"outputs": prediction}), "application/json"


def _refusal(status, message):
    return BaseInferenceToolkitError(status, message, message)
'''

_PACK = '''\
"""Makes the archive that SageMaker takes of the folder that this file is in: ``python pack.py model.tar.gz``."""

import io
import json
import sys
import tarfile
from pathlib import Path

# AWS's model server would take any manifest.json in the archive for one of its own kind, if it had none.
OWN = json.dumps({"specificationVersion": "1.0", "model": {"modelName": "model", "modelVersion": "1.0"}}).encode()

home = Path(__file__).parent
with tarfile.open(sys.argv[1], "w:gz") as archive:
    for name in ("code", "manifest.json", "model", "golden"):
        archive.add(home / name, name)
    member = tarfile.TarInfo("MAR-INF/MANIFEST.json")
    member.size = len(OWN)
    archive.addfile(member, io.BytesIO(OWN))
'''

_RUN = """\
## Deploy it

SageMaker takes an archive:

    python pack.py model.tar.gz
    aws s3 cp model.tar.gz s3://BUCKET/{name}/model.tar.gz

Create a model of it with a container of AWS that has Python {python} or later and SageMaker's inference toolkit, for
example in Python with the SageMaker SDK:

    from sagemaker.pytorch import PyTorchModel
    model = PyTorchModel("s3://BUCKET/{name}/model.tar.gz", role=ROLE, image_uri=IMAGE, entry_point="inference.py")
    model.deploy(1, "ml.c6i.large")

The container installs `code/requirements.txt`, which names deploykit's wheel in `code`. Inputs are raw examples:

    {{"inputs": {{"{first}": [...]}}}}

`deploykit verify . --url http://127.0.0.1:8080` asks a container that runs on your machine at `/invocations`.
"""


class SageMaker(Exporter):
    """Holds any format."""

    name = "sagemaker"
    label = "SageMaker"
    place = "clouds"
    help = (
        "Any format: code/inference.py for SageMaker's containers, which answers with preprocessing done, and what "
        "packs model.tar.gz."
    )

    def write(self, candidate: Exportable, draft: Draft, folder: Path) -> str:
        """Write ``code/inference.py``, its requirements and wheel, ``model/``, ``pack.py`` and ``README.md``."""
        model = write_model(candidate, draft, folder, "model/")
        code = folder / "code"
        code.mkdir()
        write_requirements(draft, code)
        (code / "inference.py").write_text(_INFERENCE, encoding="utf-8")
        (folder / "pack.py").write_text(_PACK, encoding="utf-8")
        first = draft.inputs[0].name
        run = _RUN.format(name=draft.name, python=python(), first=first)
        (folder / "README.md").write_text(readme(candidate, draft, run), encoding="utf-8")
        return model

    def ask(self, url: str, manifest: Manifest, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Ask SageMaker's container, which takes raw examples."""
        return ask_json(url, manifest, inputs, path="/invocations", sent="inputs", found="outputs")


ADAPTER = SageMaker()
