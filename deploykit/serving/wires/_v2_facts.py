"""What the Open Inference Protocol v2 says of a server and its models over HTTP, and what Triton's clients ask beyond.

Source: Triton Inference Server's protocol extensions "Model Configuration", "Model Repository" and "Statistics".
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from deploykit._version import __version__
from deploykit.artifacts.wire import DATATYPES
from deploykit.core.model import TensorSpec
from deploykit.core.serial import dump
from deploykit.serving.faults import InvalidInputError, UnavailableError
from deploykit.serving.meter import Series, read
from deploykit.serving.service import ServedModel, Service
from deploykit.serving.wires._contract import Endpoint, Find, Headers, Response, get

#: Statuses of requests that were answered, over HTTP and gRPC.
_SUCCESS = ("200", "OK")
#: Stages of a request as the meter counts them → as Triton's statistics call them.
_STAGES = {"queue": "queue", "decode": "compute_input", "run": "compute_infer", "encode": "compute_output"}
_EXTENSIONS = ("binary_tensor_data", "classification", "model_configuration", "statistics")


def endpoint_of(service: Service, what: str, find: Find) -> Endpoint | None:
    """What answers a question about a model, None if it is not one.

    Args:
        service: What is served.
        what: End of the path, ``""`` for the model itself.
        find: Finds the model.
    """
    if what == "":
        return get(lambda: _metadata(find(), service))
    if what == "/ready":
        return get(lambda: _ready(service, {"name": find().plane.name, "ready": True}))
    if what == "/config":
        return get(lambda: _config(find()))
    if what == "/stats":
        return Endpoint("GET", partial(_statistics, service, lambda: [find()]), "metrics")
    return None


def server_endpoint(service: Service, path: str) -> Endpoint | None:
    """What answers a question about the server, None if it is not one.

    Args:
        service: What is served.
        path: The path in lower case, without a slash at its end.
    """
    if path == "/v2":
        return get(lambda: dump({"name": "deploykit", "version": __version__, "extensions": list(_EXTENSIONS)}))
    if path == "/v2/health/live":
        return get(lambda: b'{"live":true}', "")
    if path == "/v2/health/ready":
        return get(lambda: _ready(service, {"ready": True}), "")
    if path == "/v2/models/stats" and "stats" not in service.names:
        return Endpoint("GET", partial(_statistics, service, partial(_models, service)), "metrics")
    if path == "/v2/repository/index":
        return Endpoint("POST", partial(_index, service), "admin")
    if path.startswith("/v2/repository/models/") and path.endswith(("/load", "/unload")):
        return Endpoint("POST", partial(_load, path.rpartition("/")[2]), "admin")
    return None


def _ready(service: Service, said: dict[str, Any]) -> bytes:
    service.check_ready()
    return dump(said)


def _models(service: Service) -> list[ServedModel]:
    return [service.model(name, version) for name in service.names for version in service.versions(name)]


async def _index(service: Service, _: bytes, __: Headers) -> Response:
    models = [
        {"name": model.plane.name, "version": model.version, "state": "READY", "reason": ""}
        for model in _models(service)
    ]
    return Response(200, dump(models))


async def _load(what: str, _: bytes, __: Headers) -> Response:
    raise InvalidInputError(f"Models cannot be {what}ed by clients; restart the server with the models you want.")


def _metadata(model: ServedModel, service: Service) -> bytes:
    """Names, datatypes and shapes; class names come as a parameter of the scored output."""
    plane = model.plane
    outputs = [_tensor(spec) for spec in plane.outputs.values()]
    for output in outputs:
        if names := plane.classes_of(plane.meanings[output["name"]]):
            output["parameters"] = {"classes": list(names)}
    return dump(
        {
            "name": plane.name,
            "versions": list(service.versions(plane.name)),
            "platform": plane.platform,
            "inputs": [_tensor(spec) for spec in plane.inputs.values()],
            "outputs": outputs,
        }
    )


def _config(model: ServedModel) -> bytes:
    """Shapes are whole, batch first, so that there is no other largest batch than 0."""
    plane = model.plane

    def tensors(specs: Mapping[str, TensorSpec]) -> list[dict[str, Any]]:
        found = [_tensor(spec) for spec in specs.values()]
        return [{"name": t["name"], "data_type": _type(t["datatype"]), "dims": t["shape"]} for t in found]

    return dump(
        {
            "name": plane.name,
            "platform": plane.platform,
            "max_batch_size": 0,
            "input": tensors(plane.inputs),
            "output": tensors(plane.outputs),
        }
    )


async def _statistics(service: Service, find: Callable[[], list[ServedModel]], _: bytes, __: Headers) -> Response:
    """What all workers have done, as their meters say."""
    models = find()
    series = await asyncio.get_running_loop().run_in_executor(None, series_of, service)
    return Response(200, dump({"model_stats": [counted(series, model) for model in models]}))


def series_of(service: Service) -> list[Series]:
    """What the meters of all workers say; it takes a while.

    Raises:
        UnavailableError: There are none.
    """
    if service.meter is None:
        raise UnavailableError("The server does not count: its temporary files were removed. Restart it.")
    service.meter.flush()
    return read(service.meter.files)


def counted(series: Iterable[Series], model: ServedModel) -> dict[str, Any]:
    """A model's statistics, of the series of all workers; times are those of requests that ran."""
    name, version = key = model.plane.name, model.version
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for one in series:
        if one.labels[:2] != key:
            continue
        if one.kind == "requests":
            sums["success" if one.labels[3] in _SUCCESS else "fail"][0] += one.total
            continue
        place = _STAGES.get(one.labels[3], "success time") if one.kind == "seconds" else one.kind
        sums[place][0] += sum(one.buckets)
        sums[place][1] += one.total
    sums["success"][1] = sums.pop("success time", [0, 0])[1]
    stages = ("success", "fail", *_STAGES.values())
    return {
        "name": name,
        "version": version,
        "inference_count": sums["examples"][1],
        "execution_count": sums["examples"][0],
        "inference_stats": {stage: {"count": sums[stage][0], "ns": sums[stage][1]} for stage in stages},
    }


def _type(wire: str) -> str:
    return "TYPE_STRING" if wire == "BYTES" else f"TYPE_{wire}"


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    shape = [-1 if d is None else d for d in spec.shape or ()]
    return {"name": spec.name, "datatype": DATATYPES.get(spec.dtype, spec.dtype), "shape": shape}
