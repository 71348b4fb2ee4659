"""Triton Inference Server: a repository with the ONNX model, its configuration and warm-up inputs.

Source: Triton's documentation of model repositories and of ModelConfig (``model_config.proto``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.artifact import Manifest
from deploykit.artifacts.wire import DATATYPES, to_bytes
from deploykit.core.errors import ExportError
from deploykit.core.model import TensorSpec
from deploykit.core.parameter import Parameter
from deploykit.exporters import _open_inference_client
from deploykit.exporters._contract import Draft, Exporter
from deploykit.exporters._files import copy_model
from deploykit.exporters._texts import readme
from deploykit.measuring.exportable import Exportable

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RUN = """\
## Run it

    docker run --rm -p 8000:8000 -p 8001:8001 -v "$PWD:/models" nvcr.io/nvidia/tritonserver:24.12-py3 \\
        tritonserver --model-repository=/models

`{name}/config.pbtxt` names the tensors and says how requests are joined{batches}. The golden inputs in
`{name}/warmup` are run before the model takes requests.

**Triton runs the ONNX file alone: its clients must send preprocessed examples** (see the table). `deploykit serve .`
serves the same folder and takes raw examples; `deploykit verify . --url http://HOST:8000` checks either server against
the golden outputs.
"""


class Triton(Exporter):
    """Holds ONNX files."""

    name = "triton"
    label = "Triton"
    help = "ONNX only: NAME/config.pbtxt, NAME/VERSION/model.onnx and warm-up inputs: a repository for Triton."
    accepts = frozenset({"onnx"})
    parameters = (
        Parameter("version", "int", 1, "Number of the model's version, the name of its folder.", minimum=1),
        Parameter(
            "max_batch",
            "int",
            32,
            "Most examples that Triton runs as one batch, of one request or of several. 0, and wherever answers depend "
            "on the batch: each request runs by itself.",
            minimum=0,
            maximum=65536,
        ),
        Parameter(
            "delay_us",
            "int",
            0,
            "How long, in microseconds, the first request of a batch waits for others.",
            minimum=0,
            maximum=10_000_000,
        ),
        Parameter("instances", "int", 1, "Copies of the model that run at the same time.", minimum=1, maximum=1024),
    )

    def write(self, candidate: Exportable, draft: Draft, folder: Path) -> str:
        """Write ``NAME/config.pbtxt``, ``NAME/VERSION/``, ``NAME/warmup/`` and ``README.md``.

        Raises:
            ExportError: The model runs sequences step by step, whose state Triton would have to carry on.
        """
        if candidate.data.checked.sequences:
            raise ExportError(
                "The model runs sequences step by step, and this layout's Triton would run single steps.",
                remedy="export with layout='folder': deploykit serve runs whole sequences.",
            )
        home = folder / draft.name
        model = f"{draft.name}/{draft.parameters['version']}/model.onnx"
        copy_model(candidate.path, folder / model)
        for name in draft.extra_files:
            copy_model(candidate.path.parent / name, (folder / model).parent / name)
        warmup = home / "warmup"
        warmup.mkdir()
        for number, example in enumerate(draft.examples):
            for place, array in enumerate(example.values()):
                (warmup / f"{number}-{place}").write_bytes(to_bytes(array))
        batch = draft.parameters["max_batch"] if draft.joined else 0
        assert isinstance(batch, int)
        (home / "config.pbtxt").write_text(_config(candidate, draft, batch), encoding="utf-8")
        batches = f", up to {batch} examples at once" if batch else ": not at all"
        run = _RUN.format(name=draft.name, batches=batches)
        (folder / "README.md").write_text(readme(candidate, draft, run), encoding="utf-8")
        return model

    def ask(self, url: str, manifest: Manifest, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Ask Triton, which takes preprocessed examples, by the Open Inference Protocol."""
        return _open_inference_client.ask(url, manifest, inputs)


def _config(candidate: Exportable, draft: Draft, batch: int) -> str:
    """The model's configuration, in protobuf's text format."""
    kind = "KIND_CPU" if candidate.target.device == "cpu" else "KIND_GPU"
    lines = [
        f'name: "{draft.name}"',
        'backend: "onnxruntime"',
        f"max_batch_size: {batch}",
        *(f"input {{ {_tensor(spec, batch)} }}" for spec in draft.file_inputs),
        *(f"output {{ {_tensor(spec, batch)} }}" for spec in draft.file_outputs),
        f"instance_group {{ count: {draft.parameters['instances']} kind: {kind} }}",
        f'parameters {{ key: "intra_op_thread_count" value {{ string_value: "{candidate.target.threads}" }} }}',
    ]
    if batch:
        lines.append(f"dynamic_batching {{ max_queue_delay_microseconds: {draft.parameters['delay_us']} }}")
    for number, example in enumerate(draft.examples):
        inputs = " ".join(_recorded(*one, f"{number}-{place}", batch) for place, one in enumerate(example.items()))
        lines.append(f'model_warmup {{ name: "golden {number}" batch_size: {int(batch > 0)} {inputs} }}')
    return "".join(f"{line}\n" for line in lines)


def _tensor(spec: TensorSpec, batch: int) -> str:
    shape = spec.shape or ()
    dims = [-1 if size is None else size for size in (shape[1:] if batch else shape)]
    # A tensor without sizes of its own has one per example, which dims must say.
    reshape = " reshape { shape: [] }" if not dims else ""
    return f"name: {_text(spec.name)} data_type: {_type(spec.dtype)} dims: {dims or [1]}{reshape}"


def _recorded(name: str, array: NDArray[Any], file: str, batch: int) -> str:
    dtype = "string" if array.dtype.kind in "SUO" else array.dtype.name
    dims = list(array.shape[1:] if batch else array.shape) or [1]
    value = f'data_type: {_type(dtype)} dims: {dims} input_data_file: "{file}"'
    return f"inputs {{ key: {_text(name)} value {{ {value} }} }}"


def _type(dtype: str) -> str:
    """Triton's name of a dtype.

    Raises:
        ExportError: It has none.
    """
    if dtype not in DATATYPES:
        raise ExportError(f"Triton has no type for {dtype} tensors.", remedy="export with layout='folder'.")
    return "TYPE_STRING" if dtype == "string" else f"TYPE_{DATATYPES[dtype]}"


def _text(name: str) -> str:
    """A string of the text format."""
    return json.dumps(name, ensure_ascii=False)


ADAPTER = Triton()
