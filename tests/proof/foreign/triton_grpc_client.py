"""Asks a server over gRPC with NVIDIA's client, whose definitions are compared with ours.

Arguments: ADDRESS MODEL INPUTS.npz, and the compiled definitions. Prints what came back as JSON.
"""

import importlib.metadata
import json
import queue
import sys
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
from google.protobuf import descriptor_pb2
from tritonclient.grpc import model_config_pb2, service_pb2

address, model, path, definitions = sys.argv[1:]
arrays = dict(np.load(path))
client = triton.InferenceServerClient(address)
metadata = client.get_model_metadata(model)
outputs = [spec.name for spec in metadata.outputs]


def inputs():
    found = []
    for spec in metadata.inputs:
        given = triton.InferInput(spec.name, list(arrays[spec.name].shape), spec.datatype)
        given.set_data_from_numpy(arrays[spec.name])
        found.append(given)
    return found


def values(result):
    return {name: result.as_numpy(name).tolist() for name in outputs}


answers = {"plain": values(client.infer(model, inputs(), request_id="proof", client_timeout=60))}
answers["compressed"] = values(client.infer(model, inputs(), compression_algorithm="gzip"))
came = queue.Queue()
client.start_stream(lambda result, error: came.put((result, error)))
client.async_stream_infer(model, inputs(), request_id="one")
result, error = came.get(timeout=60)
answers["streamed"] = values(result)
client.async_stream_infer("other", inputs())
streamed_error = str(came.get(timeout=60)[1])
client.stop_stream()
best = client.infer(model, inputs(), outputs=[triton.InferRequestedOutput("label", class_count=2)]).as_numpy("label")
try:
    client.infer("other", inputs())
except triton.InferenceServerException as refused:
    error = [refused.status(), refused.message()]


def fields(kinds, package):
    """Number and type of each field of all messages, by full names."""
    found, waiting = {}, [(package, kind) for kind in kinds]
    while waiting:
        prefix, kind = waiting.pop()
        name = f"{prefix}.{kind.name}"
        waiting += [(name, inner) for inner in kind.nested_type]
        found |= {f"{name}.{f.name}": [f.number, f.type, f.label] for f in kind.field}
    return found


with Path(definitions).open("rb") as file:
    files = descriptor_pb2.FileDescriptorSet.FromString(file.read()).file
ours = fields(next(f for f in files if f.package == "inference").message_type, "inference")
theirs = {}
for module in (service_pb2, model_config_pb2):
    proto = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(proto)
    theirs |= fields(proto.message_type, "inference")
print(
    json.dumps(
        {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "model_ready": client.is_model_ready(model),
            "answers": answers,
            "classes": [[text.decode() for text in row] for row in best],
            "error": error,
            "streamed_error": streamed_error,
            "index": [m.name for m in client.get_model_repository_index().models],
            "config": [i.name for i in client.get_model_config(model).config.input],
            "statistics": client.get_inference_statistics(model).model_stats[0].inference_count,
            "different": sorted(name for name in ours if ours[name] != theirs.get(name)),
            "fields": len(ours),
            "version": importlib.metadata.version("tritonclient"),
        }
    )
)
