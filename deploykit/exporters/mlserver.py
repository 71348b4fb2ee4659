"""MLServer: settings and a runtime of its own for any format.

Source: MLServer's documentation of custom inference runtimes, and its reference of model settings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.artifact import Manifest
from deploykit.artifacts.wire import DATATYPES
from deploykit.core.errors import ExportError
from deploykit.core.model import TensorSpec
from deploykit.core.parameter import Parameter
from deploykit.exporters._contract import Draft, Exporter
from deploykit.exporters._hosted import ask_open_inference, write_model, write_requirements
from deploykit.exporters._texts import readme
from deploykit.measuring.exportable import Exportable

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What runs the folder; the layout was proved with 1.7, whose workers do not start with later versions of uvloop.
_ENGINE = ("mlserver>=1.7,<1.8", "uvloop<0.22; sys_platform != 'win32'")
_MODULE = "deploykit_runtime"

_RUNTIME = '''\
"""Runs the model of this folder in MLServer, by deploykit, whose wheel lies beside this file."""

import asyncio
from pathlib import Path

import numpy as np
from deploykit.core.errors import RequestError
from deploykit.serving.hosted import HostedModel
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse, RequestInput, ResponseOutput


class DeploykitModel(MLModel):
    """Checked when it is loaded: digests, and golden outputs."""

    async def load(self) -> bool:
        """Open the model, which takes a moment."""
        self._model = await asyncio.to_thread(HostedModel, Path(__file__).parent)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Outputs for raw examples."""
        try:
            inputs = {one.name: _array(one) for one in payload.inputs}
            found = await asyncio.to_thread(self._model, inputs)
        except (RequestError, ValueError, TypeError, OverflowError) as error:
            raise InferenceError(str(error)) from error
        outputs = [_output(name, array) for name, array in found.items()]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)


def _array(given: RequestInput) -> np.ndarray:
    if given.datatype != "BYTES":
        return NumpyCodec.decode_input(given)
    texts = np.empty(len(given.data), object)
    texts[:] = [v.decode() if isinstance(v, bytes) else v for v in given.data]
    return texts.reshape(given.shape)


def _output(name: str, array: np.ndarray) -> ResponseOutput:
    if array.dtype.kind not in "SUO":
        return NumpyCodec.encode_output(name, array)
    texts = [v if isinstance(v, bytes) else str(v).encode() for v in array.ravel().tolist()]
    return ResponseOutput(name=name, datatype="BYTES", shape=list(array.shape), data=texts)
'''

_RUN = """\
## Run it

    pip install -r requirements.txt
    mlserver start .
    deploykit verify . --url http://127.0.0.1:8080
    deploykit verify . --url grpc://127.0.0.1:8081

Inputs are raw examples: deploykit's wheel, which is in this folder, does the preprocessing. The model is checked when
MLServer loads it: if its files have changed, or it does not reproduce the golden outputs, it is refused. {batches}
"""


class MLServer(Exporter):
    """Holds any format."""

    name = "mlserver"
    label = "MLServer"
    help = "Any format: model-settings.json and a runtime for MLServer, which answers with preprocessing done."
    parameters = (
        Parameter("version", "int", 1, "Number of the model's version.", minimum=1),
        Parameter(
            "max_batch",
            "int",
            0,
            "Most requests that MLServer runs as one batch. 0, and wherever answers depend on the batch: each request "
            "runs by itself.",
            minimum=0,
            maximum=65536,
        ),
        Parameter(
            "delay_us",
            "int",
            500,
            "How long, in microseconds, the first request of a batch waits for others.",
            minimum=1,
            maximum=10_000_000,
        ),
    )

    def write(self, candidate: Exportable, draft: Draft, folder: Path) -> str:
        """Write ``model-settings.json``, ``deploykit_runtime.py``, ``model/``, requirements and ``README.md``.

        Raises:
            ExportError: The Open Inference Protocol has no type for a tensor.
        """
        model = write_model(candidate, draft, folder, "model/")
        write_requirements(draft, folder, _ENGINE)
        batch, delay = (int(draft.parameters[name] or 0) for name in ("max_batch", "delay_us"))
        settings: dict[str, Any] = {
            "name": draft.name,
            "implementation": f"{_MODULE}.DeploykitModel",
            "platform": f"{candidate.target.runtime}_{candidate.format}",
            "inputs": [_tensor(spec) for spec in draft.inputs],
            "outputs": [_tensor(spec) for spec in draft.outputs],
            "parameters": {"version": str(draft.parameters["version"])},
        }
        batches = "Each request runs by itself."
        if batch > 1 and draft.joined:
            settings |= {"max_batch_size": batch, "max_batch_time": delay / 1e6}
            batches = f"Up to {batch} requests run as one batch."
        (folder / "model-settings.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        (folder / f"{_MODULE}.py").write_text(_RUNTIME, encoding="utf-8")
        (folder / "README.md").write_text(readme(candidate, draft, _RUN.format(batches=batches)), encoding="utf-8")
        return model

    def ask(self, url: str, manifest: Manifest, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Ask MLServer, which takes raw examples, by the Open Inference Protocol."""
        return ask_open_inference(url, manifest, inputs)


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    if spec.dtype not in DATATYPES:
        raise ExportError(
            f"The Open Inference Protocol has no type for {spec.dtype} tensors.", remedy="export with layout='folder'."
        )
    shape = [-1 if size is None else size for size in spec.shape or ()]
    return {"name": spec.name, "datatype": DATATYPES[spec.dtype], "shape": shape}


ADAPTER = MLServer()
