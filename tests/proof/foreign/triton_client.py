"""Asks a server with NVIDIA's client of the Open Inference protocol: ADDRESS MODEL INPUTS.npz → answers as JSON."""

import importlib.metadata
import json
import sys

import ml_dtypes
import numpy as np
import tritonclient.http as triton

address, model, path = sys.argv[1:]
arrays = dict(np.load(path))
client = triton.InferenceServerClient(address)
metadata = client.get_model_metadata(model)
answers = {}
for binary in (True, False):
    inputs = []
    for spec in metadata["inputs"]:
        value = arrays[spec["name"]]
        given = triton.InferInput(spec["name"], list(value.shape), triton.np_to_triton_dtype(value.dtype))
        given.set_data_from_numpy(value, binary_data=binary)
        inputs.append(given)
    outputs = [triton.InferRequestedOutput(o["name"], binary_data=binary) for o in metadata["outputs"]]
    found = client.infer(model, inputs, outputs=outputs, request_id="proof")
    names = [o["name"] for o in metadata["outputs"]]
    answers["binary" if binary else "json"] = {name: found.as_numpy(name).tolist() for name in names}
best = triton.InferRequestedOutput("label", class_count=2)
inputs = []
for spec in metadata["inputs"]:
    value = arrays[spec["name"]]
    if value.dtype.kind == "f":
        value = value.astype(ml_dtypes.bfloat16)
    given = triton.InferInput(spec["name"], list(value.shape), triton.np_to_triton_dtype(value.dtype))
    given.set_data_from_numpy(value)
    inputs.append(given)
found = client.infer(model, inputs, outputs=[best]).as_numpy("label")
print(
    json.dumps(
        {
            "bfloat16_classes": [[text.decode() for text in row] for row in found],
            "index": client.get_model_repository_index(),
            "config": client.get_model_config(model),
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "model_ready": client.is_model_ready(model),
            "answers": answers,
            "version": importlib.metadata.version("tritonclient"),
        }
    )
)
