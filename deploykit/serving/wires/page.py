"""A page for people, and the description of the REST protocols for programs (OpenAPI)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from importlib.resources import files
from typing import Any

from deploykit._version import __version__
from deploykit.artifacts.wire import DATATYPES
from deploykit.core.model import TensorSpec
from deploykit.core.serial import dump
from deploykit.serving.served import ServedModel
from deploykit.serving.service import Service
from deploykit.serving.wires._contract import JSON, Endpoint, Headers, HTTPWire, Response

#: Files of the page: path → its file and content type. They say nothing about the server.
_FILES = {
    "/": ("index.html", b"text/html; charset=utf-8"),
    "/page.css": ("page.css", b"text/css; charset=utf-8"),
    "/page.js": ("page.js", b"text/javascript; charset=utf-8"),
    "/watch.js": ("watch.js", b"text/javascript; charset=utf-8"),
}
#: Nothing from elsewhere, and no frame around it.
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src blob: data:; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
)
_KINDS = {"bool": "boolean", "string": "string"}


class Page(HTTPWire):
    """Models, live rates and a form that tries one request; ``/openapi.json``."""

    name = "page"
    label = "Page"
    help = "A page at / that shows models and traffic and tries requests; /openapi.json describes the REST protocols."
    prefix = "/"

    def endpoint(self, path: str, service: Service) -> Endpoint | None:
        """A file of the page, or the description."""
        if path == "/openapi.json":
            return Endpoint("GET", partial(_openapi, service))
        found = _FILES.get(path)
        return None if found is None else Endpoint("GET", partial(_file, *found), "")

    def example(self, model: str) -> str:
        """None: the page is of the server."""
        return ""


async def _file(name: str, kind: bytes, _: bytes, __: Headers) -> Response:
    return Response(200, _content(name), kind, _HEADERS)


@cache
def _content(name: str) -> bytes:
    return files("deploykit.serving").joinpath("page", name).read_bytes()


async def _openapi(service: Service, _: bytes, __: Headers) -> Response:
    return Response(200, dump(openapi(service)), JSON)


def openapi(service: Service) -> dict[str, Any]:
    """The description of what the server answers, for its models."""
    paths: dict[str, Any] = {
        "/v2/health/live": {"get": _operation("Whether the server runs", open_to_all=True)},
        "/v2/health/ready": {"get": _operation("Whether it takes requests", open_to_all=True)},
        "/v2": {"get": _operation("Its name, version and extensions")},
        "/metrics": {"get": _operation("Metrics for Prometheus", kind="text/plain")},
    }
    for name in service.names:
        latest = service.model(name)
        paths |= {
            f"/v1/models/{name}": {"get": _operation("Status of the versions")},
            f"/v1/models/{name}/metadata": {"get": _operation("Signature")},
            f"/v1/models/{name}:predict": {
                "post": _operation("Predict, examples as rows or columns", body=_predict_body(latest))
            },
            f"/v2/models/{name}": {"get": _operation("Inputs and outputs")},
            f"/v2/models/{name}/ready": {"get": _operation("Whether the model answers")},
            f"/v2/models/{name}/infer": {"post": _operation("Predict, tensors by name", body=_infer_body(latest))},
        }
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "deploykit model server", "version": __version__},
        "paths": paths,
        "components": {"schemas": {"Error": _ERROR}},
        "x-models": [_model(service, model) for model in service.models],
        "x-missing": _missing(service),
    }
    if service.guard is not None:
        described["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"token": []}]
    return described


_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}


def _operation(
    summary: str, *, body: dict[str, Any] | None = None, kind: str = "application/json", open_to_all: bool = False
) -> dict[str, Any]:
    content = {kind: {} if kind != "application/json" else {"schema": {"type": "object"}}}
    refused = {
        "description": "Why not",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    found: dict[str, Any] = {
        "summary": summary,
        "responses": {"200": {"description": "OK", "content": content}, "default": refused},
    }
    if body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    if open_to_all:
        found["security"] = []
    return found


def _predict_body(model: ServedModel) -> dict[str, Any]:
    """Rows: one example each; columns: each input with all examples."""
    specs = list(model.plane.inputs.values())
    row = (
        _nested(specs[0].example_shape, _value(model, specs[0]))
        if len(specs) == 1
        else _object({s.name: _nested(s.example_shape, _value(model, s)) for s in specs})
    )
    column = (
        _nested(specs[0].shape, _value(model, specs[0]))
        if len(specs) == 1
        else _object({s.name: _nested(s.shape, _value(model, s)) for s in specs})
    )
    return {
        "oneOf": [
            _object({"instances": {"type": "array", "minItems": 1, "items": row}}),
            _object({"inputs": column}),
        ]
    }


def _infer_body(model: ServedModel) -> dict[str, Any]:
    tensors = [
        _object(
            {
                "name": {"const": spec.name},
                "datatype": {"const": DATATYPES.get(spec.dtype, spec.dtype)},
                "shape": _shape(spec.shape),
                "data": {"type": "array", "items": _value(model, spec)},
            }
        )
        for spec in model.plane.inputs.values()
    ]
    return _object({"inputs": {"type": "array", "minItems": 1, "items": {"anyOf": tensors}}})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _nested(shape: Sequence[int | None] | None, schema: dict[str, Any]) -> dict[str, Any]:
    """Nested lists of a shape, with such values; anything where it is not known."""
    if shape is None:
        return {}
    for size in reversed(shape):
        schema = {"type": "array", "items": schema, "minItems": 1 if size is None else size} | (
            {} if size is None else {"maxItems": size}
        )
    return schema


def _shape(shape: Sequence[int | None] | None) -> dict[str, Any]:
    """A tensor's shape, which its data must have; that cannot be said here."""
    if shape is None:
        return {"type": "array", "items": {"type": "integer", "minimum": 0}}
    sizes = [{"type": "integer", "minimum": 1} if size is None else {"const": size} for size in shape]
    return {"type": "array", "prefixItems": sizes, "minItems": len(sizes), "maxItems": len(sizes)}


def _value(model: ServedModel, spec: TensorSpec) -> dict[str, Any]:
    """One value of a tensor."""
    import numpy as np

    if spec.dtype in _KINDS:
        return {"type": _KINDS[spec.dtype]}
    dtype = np.dtype(spec.dtype) if spec.dtype in np.sctypeDict else None
    if dtype is None or dtype.kind not in "iu":
        return {"type": "number"}
    kind = "number" if spec.name in model.plane.real else "integer"
    return {"type": kind, "minimum": int(np.iinfo(dtype).min), "maximum": int(np.iinfo(dtype).max)}


def _missing(service: Service) -> list[dict[str, str]]:
    """Versions that cannot be served, and those that are on their way."""
    return [
        {"name": name, "version": version, "state": state.state, "message": state.message}
        for name in service.known
        for version, state in service.states(name).items()
        if state.state == "LOADING" or state.code != "OK"
    ]


def _model(service: Service, model: ServedModel) -> dict[str, Any]:
    """What the page shows of a model."""
    plane = model.plane
    labels = service.table.labels.get(plane.name, {})
    return {
        "name": plane.name,
        "version": model.version,
        "labels": sorted(label for label, version in labels.items() if version == model.version),
        "gets": service.gets(model),
        "platform": plane.platform,
        "inputs": [_tensor(spec) for spec in plane.inputs.values()],
        "outputs": [_tensor(spec) for spec in plane.outputs.values()],
        "needed": list(plane.needed),
        "classes": list(plane.classes),
        "images": sorted(plane.images.names),
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    shape = None if spec.shape is None else [-1 if size is None else size for size in spec.shape]
    return {"name": spec.name, "dtype": spec.dtype, "shape": shape}


ADAPTER = Page()
