"""Bodies that are not JSON: an image, or the fields of a web form (``multipart/form-data``, RFC 7578)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deploykit.core.model import TensorSpec
from deploykit.serving.batches import Batch
from deploykit.serving.dataplane import DataPlane
from deploykit.serving.faults import InvalidInputError, shown
from deploykit.serving.tensors import from_lists

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: How a request whose body has no place for it asks for the best classes: a header, or a field of a form.
CLASSIFICATION_HEADER = b"inference-classification"
CLASSIFICATION = "classification"
_MOST_PARTS, _MOST_HEAD_BYTES = 256, 4096
_PARAMETER = re.compile(r';\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))')


@dataclass(frozen=True)
class Upload:
    """What a body that is not JSON holds.

    Attributes:
        files: Field name (``""`` for a body that is one image) → files, in their order.
        fields: Field name → text, of the other fields.
        classification: How many of the best classes are wanted, None for the outputs as they are.
    """

    files: dict[str, list[bytes]] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)
    classification: int | None = None


def read_upload(body: bytes, headers: list[tuple[bytes, bytes]]) -> Upload | None:
    """The body if it is an image or a form, None if it is something else: JSON, whatever it is called.

    Raises:
        InvalidInputError: It is not what its content type says.
    """
    kind, classes = "", None
    for name, value in headers:
        if name == b"content-type":
            kind = value.decode("latin-1").strip()
        elif name == CLASSIFICATION_HEADER:
            classes = value.decode("latin-1")
    lower = kind.lower()
    if lower.startswith("image/"):
        return Upload({"": [body]}, {}, _count(classes))
    if not lower.startswith("multipart/form-data"):
        return None
    files, fields = _form(body, _parameters(kind).get("boundary", ""))
    if classes is not None and fields.get(CLASSIFICATION, classes) != classes:
        raise InvalidInputError(
            f"'classification': got {shown(fields[CLASSIFICATION])} in the form and {shown(classes)} in the header; "
            "expected it once."
        )
    return Upload(files, fields, _count(fields.pop(CLASSIFICATION, classes)))


def batch_of(plane: DataPlane, upload: Upload) -> Batch:
    """The examples in an upload.

    Files are images, each an example; a field's text is the value of one example, as JSON (``[1, 2.5]``), as numbers
    separated by commas, or as the text it is. A field has the name of an input; the only input may have any.

    Raises:
        InvalidInputError: A field is not an input, or an input does not take what it holds.
    """
    names = [*upload.files, *upload.fields]
    if both := set(upload.files) & set(upload.fields):
        raise InvalidInputError(f"Field {shown(both.pop())} is a file and a text; expected one of them.")
    if len(names) == 1 and names[0] not in plane.inputs:
        sent = {names[0]: plane.sole_input()}
    else:
        plane.check_names(names)
        sent = {name: plane.spec(name) for name in names}
    arrays = {sent[name].name: plane.images.read(sent[name], files) for name, files in upload.files.items()}
    for name, text in upload.fields.items():
        spec = sent[name]
        arrays[spec.name] = _value(text, spec, plane.real.get(spec.name, ""))
    return plane.batch(arrays)


def _value(text: str, spec: TensorSpec, real: str) -> NDArray[Any]:
    """One example from the text of a field."""
    for attempt in (text, f"[{text}]"):
        try:
            found = json.loads(attempt, parse_float=_finite)
        except (ValueError, RecursionError):
            continue
        if spec.dtype != "string" or not isinstance(found, int | float):
            return from_lists([found], spec, real=real)
    return from_lists([text], spec, real=real)


def _finite(text: str) -> float:
    if math.isinf(found := float(text)):  # Infinity itself is another word in JSON
        raise ValueError(f"number {text[:40]} is out of range")
    return found


def _count(text: str | None) -> int | None:
    if text is None or not text.strip():
        return None
    if not re.fullmatch(r"\s*[0-9]{1,9}\s*", text):
        raise InvalidInputError(f"'classification': expected a whole number, got {shown(text)}.")
    return int(text)


def _form(body: bytes, boundary: str) -> tuple[dict[str, list[bytes]], dict[str, str]]:
    """Files and texts of a form by field name."""
    if not 1 <= len(boundary) <= 70:
        raise InvalidInputError(
            "Form (multipart/form-data): expected a 'boundary' of 1 to 70 characters in Content-Type."
        )
    delimiter = b"\r\n--" + boundary.encode("latin-1")
    _, *parts = (b"\r\n" + body).split(delimiter, _MOST_PARTS + 1)
    if not parts or len(parts) > _MOST_PARTS + 1 or not parts[-1].startswith(b"--"):
        raise InvalidInputError(
            f"Form (multipart/form-data): expected 1 to {_MOST_PARTS} fields between boundaries, the last one "
            "ending in '--'; the body is cut off, has more, or another boundary."
        )
    files: dict[str, list[bytes]] = {}
    fields: dict[str, str] = {}
    for part in parts[:-1]:
        head, gap, content = part.partition(b"\r\n\r\n")
        name, is_file = _disposition(head) if gap and len(head) <= _MOST_HEAD_BYTES else ("", False)
        if not name:
            raise InvalidInputError(
                "Form (multipart/form-data): expected a Content-Disposition with a 'name' in each part."
            )
        if is_file:
            files.setdefault(name, []).append(content)
        elif name in fields:
            raise InvalidInputError(f"Field {shown(name)} is given twice.")
        else:
            fields[name] = _decoded(name, content)
    return files, fields


def _decoded(name: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"Field {shown(name)}: expected text in UTF-8; send bytes as a file (filename=)."
        ) from error


def _disposition(head: bytes) -> tuple[str, bool]:
    """A part's field name, "" without one, and whether it is a file."""
    for line in head.split(b"\r\n"):
        key, _, value = line.decode("utf-8", "replace").partition(":")
        if key.strip().lower() == "content-disposition" and value.strip().lower().startswith("form-data"):
            found = _parameters(value)
            return found.get("name", ""), "filename" in found or "filename*" in found
    return "", False


def _parameters(value: str) -> Mapping[str, str]:
    """Parameters of a header's value, by lower-case name."""
    return {
        name.lower(): re.sub(r"\\(.)", r"\1", quoted) if quoted else plain
        for name, quoted, plain in _PARAMETER.findall(value)
    }
