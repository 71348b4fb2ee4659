"""MLflow: a model of the ``python_function`` flavor, written without MLflow.

Source: MLflow's documentation of the MLflow Model format, and ``mlflow.pyfunc``'s of loader modules.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.artifact import Manifest
from deploykit.core.errors import ExportError
from deploykit.core.model import TensorSpec
from deploykit.exporters._contract import Draft, Exporter
from deploykit.exporters._hosted import ask_json, write_model, write_requirements
from deploykit.exporters._texts import readme
from deploykit.exporters._yaml import write_yaml
from deploykit.measuring.exportable import Exportable

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What answers `/invocations`; the layout was proved with this version of it.
_MLFLOW = "mlflow>=3,<4"
_EXAMPLES = 2
_EXAMPLE, _SERVED_EXAMPLE = "input_example.json", "serving_input_example.json"

_RUN = """\
## Run it

    pip install -r requirements.txt
    mlflow models serve --model-uri . --env-manager local --port 5001
    deploykit verify . --url http://127.0.0.1:5001

or in Python:

    import mlflow
    model = mlflow.pyfunc.load_model(".")
    model.predict({{{keys}}})

Inputs are raw examples: deploykit's wheel, which is in this folder, does the preprocessing. The model is checked when
MLflow loads it: if its files have changed, or it does not reproduce the golden outputs, it is refused.

    curl -H 'Content-Type: application/json' -d @serving_input_example.json http://127.0.0.1:5001/invocations

To put it in a registry, log the folder as an artifact and register that:

    run = mlflow.start_run()
    mlflow.log_artifacts(".", "model")
    mlflow.register_model(f"runs:/{{run.info.run_id}}/model", "{name}")
"""


class MLflow(Exporter):
    """Holds any format."""

    name = "mlflow"
    label = "MLflow"
    place = "exchange"
    help = (
        "Any format: an MLflow model (pyfunc) with signature, input example and requirements; mlflow models serve "
        "answers with preprocessing done."
    )
    requires = ("yaml",)

    def write(self, candidate: Exportable, draft: Draft, folder: Path) -> str:
        """Write ``MLmodel``, environments, input examples, ``model/`` and ``README.md``.

        Raises:
            ExportError: A tensor may have any number of dimensions, which MLflow's signatures cannot say.
        """
        needed = _needed(candidate, draft)
        model = write_model(candidate, draft, folder, "model/")
        write_requirements(draft, folder, [_MLFLOW])
        documents: dict[str, dict[str, Any]] = {
            "MLmodel": _mlmodel(draft, needed),
            "python_env.yaml": {
                "python": platform.python_version(),
                "build_dependencies": ["pip"],
                "dependencies": ["-r requirements.txt"],
            },
            "conda.yaml": {
                "name": "mlflow-env",
                "channels": ["conda-forge"],
                "dependencies": [f"python={platform.python_version()}", "pip", {"pip": ["-r requirements.txt"]}],
            },
        }
        for name, content in documents.items():
            write_yaml(folder / name, content)
        example = {spec.name: draft.golden[spec.name][:_EXAMPLES].tolist() for spec in needed}
        for name, content in {_EXAMPLE: example, _SERVED_EXAMPLE: {"inputs": example}}.items():
            (folder / name).write_text(json.dumps(content), encoding="utf-8")
        keys = ", ".join(f"{spec.name!r}: array" for spec in needed)
        run = _RUN.format(name=draft.name, keys=keys)
        (folder / "README.md").write_text(readme(candidate, draft, run), encoding="utf-8")
        return model

    def ask(self, url: str, manifest: Manifest, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Ask MLflow's scoring server, which takes raw examples."""
        return ask_json(url, manifest, inputs, path="/invocations", sent="inputs", found="predictions")


def _needed(candidate: Exportable, draft: Draft) -> list[TensorSpec]:
    """Inputs without state, which may be left out: MLflow insists on everything in the signature."""
    needed = candidate.data.checked.asked
    return [spec for spec in draft.inputs if spec.name in needed]


def _mlmodel(draft: Draft, inputs: Iterable[TensorSpec]) -> dict[str, Any]:
    example = {"artifact_path": _EXAMPLE, "serving_input_path": _SERVED_EXAMPLE}
    return {
        "flavors": {
            "python_function": {
                "loader_module": "deploykit.serving.hosted",
                "python_version": platform.python_version(),
                "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
            }
        },
        "saved_input_example_info": {**example, "type": "ndarray"},
        "signature": {"inputs": _schema(inputs), "outputs": _schema(draft.outputs), "params": None},
        "metadata": {"deploykit": {"name": draft.name}},
    }


def _schema(specs: Iterable[TensorSpec]) -> str:
    """MLflow's signatures are JSON inside of YAML."""
    return json.dumps([
        {"type": "tensor", "name": s.name, "tensor-spec": {"dtype": _dtype(s), "shape": _shape(s)}} for s in specs
    ])  # fmt: skip


def _shape(spec: TensorSpec) -> list[int]:
    if spec.shape is None:
        raise ExportError(
            f"MLflow's signatures have a number of dimensions for every tensor, and {spec.name!r} takes any.",
            remedy="export with layout='folder'.",
        )
    return [-1, *(-1 if size is None else size for size in spec.shape[1:])]


def _dtype(spec: TensorSpec) -> str:
    return "object" if spec.dtype == "string" else spec.dtype


ADAPTER = MLflow()
