"""How to call a server: a curl command and Python clients for the protocols it speaks, ready to run."""

from __future__ import annotations

import base64
import contextlib
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit import Artifact

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: A longer request is written to a file next to the artifact for curl to read.
_INLINE = 160


def calls(server: Any) -> dict[str, Any]:
    """How to call a server; see ``IServe`` in serve/serving.tsx. It reads and writes files."""
    artifact: Artifact = server.artifact
    example = examples(artifact)
    return {
        "url": server.url,
        "port": server.port,
        "name": server.name,
        "log": str(server.log),
        "curl": curl(artifact, server.url, example),
        "clients": clients(artifact, server.url, example),
    }


def examples(artifact: Artifact) -> dict[str, NDArray[Any]]:
    """Raw examples by input name, in the dtypes that clients send, without optional states."""
    with artifact.opened() as files:
        golden, _ = files.golden()
    specs = [spec for spec in artifact.manifest.inputs if spec.name in golden]
    return {s.name: golden[s.name].astype(object if s.dtype == "string" else s.dtype) for s in specs}


def request(example: dict[str, NDArray[Any]]) -> str:
    """A predict request of TensorFlow Serving's REST protocol for one example.

    Args:
        example: Input name → raw examples, of which the first is sent.
    """
    values = {name: _plain(array[:1].tolist())[0] for name, array in example.items()}
    instance = values if len(values) > 1 else next(iter(values.values()))
    return json.dumps({"instances": [instance]}, separators=(",", ":"))


def _plain(value: Any) -> Any:
    """Nested lists for JSON, with base64 for bytes that are not text."""
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def curl(artifact: Artifact, url: str, example: dict[str, NDArray[Any]]) -> str:
    """A command line that is ready to run; a long request is written to a file next to the artifact, if possible."""
    body = request(example)
    data = body
    if len(body) > _INLINE:
        file = Path(f"{artifact.path}.request.json")
        with contextlib.suppress(OSError):  # where nothing can be written, the line is a long one
            file.write_text(body, "utf-8")
            data = f"@{file}"
    return f"curl -d {shlex.quote(data)} {url}/v1/models/{artifact.manifest.name}:predict"


def clients(artifact: Artifact, url: str, example: dict[str, NDArray[Any]]) -> list[dict[str, str]]:
    """Python clients, one per protocol."""
    return [
        {"title": "TensorFlow Serving REST", "code": _rest_v1(artifact, url, example)},
        {"title": "Open Inference Protocol v2", "code": _rest_v2(artifact, url, example)},
    ]


_HEAD = """\
import json
from urllib.request import Request, urlopen

import numpy as np

"""
_SEND = """\
with urlopen(Request(url, json.dumps(body).encode())) as response:
    answer = json.load(response)
"""


def _rest_v1(artifact: Artifact, url: str, example: dict[str, NDArray[Any]]) -> str:
    names = list(example)
    arrays = _arrays(example, names)
    if len(names) == 1:
        body = f'body = {{"instances": {_VARIABLE}.tolist()}}'
    else:
        items = ", ".join(f"{name!r}: {_VARIABLE}[{name!r}].tolist()" for name in names)
        body = f'body = {{"inputs": {{{items}}}}}'
    answers = "predictions" if len(names) == 1 else "outputs"
    address = f"{url}/v1/models/{artifact.manifest.name}:predict"
    return f'{_HEAD}url = "{address}"\n{arrays}{body}\n{_SEND}print(answer["{answers}"])\n'


def _rest_v2(artifact: Artifact, url: str, example: dict[str, NDArray[Any]]) -> str:
    names = list(example)
    several = len(names) > 1
    lines = []
    for name in names:
        x = f"{_VARIABLE}[{name!r}]" if several else _VARIABLE
        kind = _datatype(example[name])
        lines.append(
            f'    {{"name": {name!r}, "shape": {x}.shape, "datatype": "{kind}", "data": {x}.ravel().tolist()}},\n'
        )
    body = f'body = {{"inputs": [\n{"".join(lines)}]}}'
    address = f"{url}/v2/models/{artifact.manifest.name}/infer"
    shown = 'for output in answer["outputs"]:\n    print(output["name"], output["shape"], output["data"])\n'
    return f'{_HEAD}url = "{address}"\n{_arrays(example, names)}{body}\n{_SEND}{shown}'


_VARIABLE = "x"


def _arrays(example: dict[str, NDArray[Any]], names: list[str]) -> str:
    made = {n: _made((1, *example[n].shape[1:]), example[n].dtype) for n in names}
    note = "# your raw examples, batch first: the server does the preprocessing\n"
    if len(names) == 1:
        return f"{note}{_VARIABLE} = {made[names[0]]}\n"
    items = "".join(f"    {n!r}: {code},\n" for n, code in made.items())
    return f"{note}{_VARIABLE} = {{\n{items}}}\n"


def _made(shape: tuple[int, ...], dtype: Any) -> str:
    return f'np.full({shape}, "", object)' if dtype.kind == "O" else f"np.zeros({shape}, {str(dtype)!r})"


def _datatype(array: NDArray[Any]) -> str:
    """The protocol's name for an array's type."""
    kinds = {"f": "FP", "i": "INT", "u": "UINT"}
    kind = array.dtype.kind
    return f"{kinds[kind]}{8 * array.dtype.itemsize}" if kind in kinds else "BOOL" if kind == "b" else "BYTES"
