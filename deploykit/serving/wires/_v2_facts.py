"""What the Open Inference Protocol v2 says of a server and its models over HTTP, and what Triton's clients ask beyond.

Source: Triton Inference Server's protocol extensions "Model Configuration", "Model Repository" and "Statistics".
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from deploykit._version import __version__
from deploykit.artifacts.wire import DATATYPES
from deploykit.core.model import TensorSpec
from deploykit.core.serial import dump
from deploykit.serving.control import check_origin, control
from deploykit.serving.faults import InvalidInputError, UnavailableError, shown
from deploykit.serving.meter import Series, read
from deploykit.serving.served import ServedModel
from deploykit.serving.service import Service
from deploykit.serving.wires._contract import Endpoint, Find, Headers, Response, get
from deploykit.serving.wires._json import read_json

#: Statuses of requests that were answered, over HTTP and gRPC.
_SUCCESS = ("200", "OK")
_REPOSITORY = re.compile(r"/v2/repository/models/(?P<model>[^/:]+)/(?P<what>load|unload)/?", re.IGNORECASE)
#: State of a version → as Triton's index says it.
_REPOSITORY_STATES = {"AVAILABLE": "READY", "LOADING": "LOADING", "UNLOADING": "UNLOADING", "END": "UNAVAILABLE"}
#: Stages of a request as the meter counts them → as Triton's statistics call them.
_STAGES = {"queue": "queue", "decode": "compute_input", "run": "compute_infer", "encode": "compute_output"}
_EXTENSIONS = ("binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics")


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
        return Endpoint("GET", partial(_statistics, service, lambda: service.models), "metrics")
    if path == "/v2/repository/index":
        return Endpoint("POST", partial(_index, service), "admin")
    return None


def repository_endpoint(service: Service, path: str) -> Endpoint | None:
    """What loads or unloads a model, None if a path is not of that."""
    match = _REPOSITORY.fullmatch(path)
    return match and Endpoint("POST", partial(_load, service, match["what"].lower(), match["model"]), "admin")


def _ready(service: Service, said: dict[str, Any]) -> bytes:
    service.check_ready()
    return dump(said)


async def _index(service: Service, body: bytes, _: Headers) -> Response:
    asked = read_json(body) if body.strip() else {}
    ready = asked.get("ready", False) if isinstance(asked, dict) else None
    if not isinstance(ready, bool):
        raise InvalidInputError("Expected a JSON object, with 'ready' as true or false if it is there.")
    return Response(200, dump(index(service, ready=ready)))


def index(service: Service, *, ready: bool) -> list[dict[str, str]]:
    """All versions of all models, or those that are ready, with their states."""
    return [
        {"name": name, "version": version, "state": _REPOSITORY_STATES[state.state], "reason": state.message}
        for name in service.known
        for version, state in service.states(name).items()
        if not ready or state.state == "AVAILABLE"
    ]


async def _load(service: Service, what: str, name: str, body: bytes, headers: Headers) -> Response:
    check_origin(headers)
    asked = read_json(body) if body.strip() else {}
    parameters = asked.get("parameters", {}) if isinstance(asked, dict) else None
    if not isinstance(parameters, dict):
        raise InvalidInputError("Expected a JSON object, with 'parameters' as an object if they are there.")
    check_parameters(parameters)
    await control(service, what, {"name": name})
    return Response(200, b"{}")


def check_parameters(parameters: Iterable[str]) -> None:
    """Raise `InvalidInputError` for parameters of a load that would replace what is in the model's folder."""
    if odd := [name for name in parameters if name != "unload_dependents"]:
        raise InvalidInputError(
            f"Parameters {', '.join(map(shown, odd))} are not supported; put the model's files into its folder."
        )


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
