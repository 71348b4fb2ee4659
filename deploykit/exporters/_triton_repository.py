"""A repository for Triton Inference Server: the ONNX model, its configuration and warm-up inputs.

Source: Triton's documentation of model repositories and of ModelConfig (``model_config.proto``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.wire import DATATYPES, to_bytes
from deploykit.core.errors import ExportError
from deploykit.core.model import TensorSpec
from deploykit.exporters._contract import Draft
from deploykit.exporters._files import copy_model
from deploykit.measuring.exportable import Exportable

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Formats that its ONNX Runtime backend runs.
ACCEPTS = frozenset({"onnx"})


def write_repository(candidate: Exportable, draft: Draft, folder: Path) -> tuple[str, int]:
    """Write ``NAME/config.pbtxt``, ``NAME/VERSION/`` and ``NAME/warmup/``.

    Args:
        candidate: What is exported.
        draft: What is known of it, with the parameters of the layout ``triton``.
        folder: The repository.

    Returns:
        Path of the model, relative to the folder, and the largest batch; 0 where requests are not joined.

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
    return model, batch


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
