"""The graph of an exported program (``.pt2``), read from its JSON: signature, nodes and weights, without PyTorch."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import ModelFileError, UnsafeModelError, UnsupportedModelError
from deploykit.core.model import TensorSpec
from deploykit.core.serial import parse
from deploykit.readers.archive import MAX_JSON_BYTES, check_json
from deploykit.readers.pytorch import fields
from deploykit.readers.pytorch.archive import GRAPH, NAME, TWO_LINES, Archive
from deploykit.readers.pytorch.safety import check_program

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Numbers by which files know types, and NumPy's names; ``bfloat16`` and the 8-bit floats it has not.
DTYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64",
    9: "complex32", 10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16", 29: "float8_e4m3fn",
    30: "float8_e5m2", 31: "float8_e4m3fnuz", 32: "float8_e5m2fnuz", 33: "float8_e8m0fnu", 34: "uint32", 35: "uint64",
}  # fmt: skip
_WIDTHS = {"bool": 1, "bfloat16": 2}
_CONFIGS = (("data/weights", f"{NAME}_weights_config.json"), ("data/constants", f"{NAME}_constants_config.json"))
_AGAIN = "export the model again, or download it again."
_STRIDED = 7
#: How operators begin that make real numbers of stored integers, scale and zero point, in this order.
_WIDENING, _PARTS = "dequantize_per_", 3


@dataclass(frozen=True)
class Stored:
    """A weight, buffer or constant of a program.

    Attributes:
        name: Its name in the model, such as ``"conv.weight"``.
        member: Where its values are.
        shape: Its dimensions.
        strides: Steps between its values, in values.
        offset: Where its values begin, in values.
        dtype: Its type.
        trained: Whether it is a parameter.
    """

    name: str
    member: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    dtype: str
    trained: bool


@dataclass(frozen=True)
class Scaling:
    """What makes real numbers of stored integers.

    Attributes:
        scale: What they are multiplied by: one number, or one for each channel.
        zero: What is subtracted before.
        axis: The axis of the channels.
    """

    scale: Stored | float
    zero: Stored | float
    axis: int = 0


@dataclass(frozen=True)
class Node:
    """An operator.

    Attributes:
        name: Its name in the graph.
        operator: Its name in PyTorch without namespace and overload, such as ``"conv2d"``.
        inputs: The tensors it reads, by their names in the graph.
        outputs: The tensors it makes.
        shape: Shape of the first one, None while unknown.
        attributes: Its settings as text.
    """

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shape: tuple[int | None, ...] | None
    attributes: Mapping[str, str]


class Program:
    """An exported program whose archive has been checked; nothing of it is run.

    Args:
        archive: The opened file; it is kept.
        trusted: Whether operators that are not PyTorch's own are let pass.

    Raises:
        ModelFileError: Truncated, damaged or forged.
        UnsafeModelError: It would run code of its own.
        UnsupportedModelError: Its inputs or outputs are not tensors.
    """

    def __init__(self, archive: Archive, *, trusted: bool = False) -> None:
        self.archive = archive
        self.shown = str(archive.path)
        if not archive.has(GRAPH):
            held = ", ".join(name.removeprefix("models/") for name in archive.names("models/")) or "none"
            raise ModelFileError(
                f"{self.shown}: the archive has no program called {NAME!r}; it has {held}.",
                remedy="save the program with torch.export.save.",
            )
        found = self._json(GRAPH)
        if not trusted:
            check_program(found, f"{self.shown}: {GRAPH}")
        try:
            self._read(found)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise ModelFileError(
                f"{self.shown}: {GRAPH} is damaged, or of an unknown version of PyTorch: {type(error).__name__} "
                f"{error}.",
                remedy=f"export it again with a PyTorch of this year: {TWO_LINES}",
            ) from error

    def _json(self, member: str) -> dict[str, Any]:
        data = self.archive.read(member, MAX_JSON_BYTES)
        where = f"{self.shown}: {member}"
        check_json(data, where)
        try:
            found = parse(data)
        except ValueError as error:
            raise ModelFileError(f"{where} is damaged: {error}.", remedy=_AGAIN) from error
        if not isinstance(found, dict):
            raise ModelFileError(f"{where} does not hold a JSON object.", remedy=_AGAIN)
        return found

    def _read(self, found: dict[str, Any]) -> None:
        module = found["graph_module"]
        graph, signature = module["graph"], module["signature"]
        self.version = str(found.get("torch_version", ""))
        self._values: dict[str, Any] = graph["tensor_values"]
        self.stored = self._stored()
        self.constants: dict[str, Stored] = {}
        taken: list[str] = []
        for spec in signature["input_specs"]:
            ((kind, body),) = spec.items()
            if kind == "user_input":
                taken.append(self._tensor(body["arg"], "input"))
            elif kind in ("parameter", "buffer", "tensor_constant"):
                own = body[{"tensor_constant": "tensor_constant_name"}.get(kind, f"{kind}_name")]
                if own not in self.stored:
                    raise ModelFileError(f"{self.shown}: the weight {own!r} is missing.", remedy=_AGAIN)
                self.constants[body["arg"]["name"]] = self.stored[own]
            elif kind == "constant_input":
                raise UnsupportedModelError(
                    f"{self.shown}: the input {body['name']!r} is the constant {body['value']}, not a tensor.",
                    remedy="export a module whose forward takes tensors alone.",
                )
            else:
                raise UnsafeModelError(f"{self.shown}: an input is a {kind}, not a tensor.", remedy="export tensors.")
        given: list[str] = []
        self.changed: tuple[str, ...] = ()
        for spec in signature["output_specs"]:
            ((kind, body),) = spec.items()
            if kind == "user_output":
                given.append(self._tensor(body["arg"], "output"))
            elif kind == "buffer_mutation":
                self.changed += (str(body["buffer_name"]),)
            else:
                raise UnsupportedModelError(
                    f"{self.shown}: the graph gives a {kind.replace('_', ' ')}.", remedy="export it for inference."
                )
        if not given:
            raise ModelFileError(f"{self.shown}: the graph has no outputs.", remedy=_AGAIN)
        self.nodes = tuple(self._node(node) for node in graph["nodes"])
        self._sign(taken, given, fields.keys(module))

    def _tensor(self, argument: Mapping[str, Any], what: str) -> str:
        ((kind, body),) = argument.items()
        if kind != "as_tensor":
            raise UnsupportedModelError(
                f"{self.shown}: an {what} is a {kind.removeprefix('as_')}, not a tensor.",
                remedy="export a module whose forward takes and gives tensors.",
            )
        return str(body["name"])

    def _sign(self, taken: list[str], given: list[str], keys: list[str]) -> None:
        symbols = [fields.symbols(self._values[name]) for name in taken]
        batch = next((s[0] for s in symbols if s and s[0]), "") or next((x for s in symbols for x in s if x), "")
        makers = {name: node.operator for node in self.nodes for name in node.outputs}
        self.inputs = tuple(self._spec(name, name, batch) for name in taken)
        names = keys if len(keys) == len(given) else given
        self.outputs = tuple(
            replace(self._spec(value, name, batch), operator=makers.get(value, ""))
            for value, name in zip(given, fields.distinct(names), strict=True)
        )
        self.values_given = tuple(given)
        self.batch_symbol = batch

    def examples(self) -> list[tuple[int, ...]]:
        """Shapes of the inputs as they were exported, with sizes in place of free dimensions."""
        found = []
        for spec in self.inputs:
            sizes = self._values[spec.name]["sizes"]
            found.append(
                tuple(size["as_expr"]["hint"]["as_int"] if "as_expr" in size else fields.whole(size) for size in sizes)
            )
        return found

    def _spec(self, value: str, name: str, batch: str) -> TensorSpec:
        found = self._values[value]
        symbols = fields.symbols(found)
        axis = symbols.index(batch) if batch and batch in symbols else 0
        dtype = DTYPES.get(found["dtype"], "")
        if not dtype or "complex" in dtype or "float8" in dtype:
            raise UnsupportedModelError(
                f"{self.shown}: {name!r} has the type {dtype or found['dtype']}, which runtimes do not take.",
                remedy="export a module that takes and gives real numbers.",
            )
        # NumPy has no bfloat16: sessions give it as float32.
        return TensorSpec(name, fields.shape(found), "float32" if dtype == "bfloat16" else dtype, batch_axis=axis)

    def _node(self, node: Mapping[str, Any]) -> Node:
        inputs: list[str] = []
        attributes: dict[str, str] = {}
        for given in node["inputs"]:
            ((kind, body),) = given["arg"].items()
            if kind == "as_tensor":
                inputs.append(str(body["name"]))
            elif kind == "as_tensors":
                inputs += [str(one["name"]) for one in body]
            elif kind == "as_optional_tensors":
                inputs += [str(one["as_tensor"]["name"]) for one in body if "as_tensor" in one]
            elif kind not in ("as_none", "as_graph"):
                attributes[str(given["name"])] = str(body)[:200]
        outputs = [
            str(one["name"])
            for made in node["outputs"]
            for one in ([made["as_tensor"]] if "as_tensor" in made else made.get("as_tensors", ()))
        ]
        shape = fields.shape(self._values[outputs[0]]) if outputs and outputs[0] in self._values else None
        parts = str(node["target"]).split(".")
        operator = parts[3] if parts[:2] == ["torch", "ops"] and len(parts) > 3 else parts[-1]
        name = str(node.get("name") or (outputs[0] if outputs else operator))
        return Node(name, operator, tuple(inputs), tuple(outputs), shape, attributes)

    def _stored(self) -> dict[str, Stored]:
        found: dict[str, Stored] = {}
        for folder, config in _CONFIGS:
            member = f"{folder}/{config}"
            if not self.archive.has(member):
                raise ModelFileError(
                    f"{self.shown}: the archive has no {member}; it was saved by a PyTorch before 2.9.",
                    remedy="load it there and save it again with a newer one: torch.export.save(program, path).",
                )
            for name, entry in self._json(member)["config"].items():
                found[name] = self._entry(name, folder, entry)
        return found

    def _entry(self, name: str, folder: str, entry: Mapping[str, Any]) -> Stored:
        member = f"{folder}/{entry['path_name']}"
        if entry["use_pickle"] or not member.rpartition("/")[2].startswith(("weight_", "tensor_")):
            raise UnsafeModelError(
                f"{self.shown}: {name!r} is pickled in {member}, and unpickling runs code.",
                remedy="export a model of plain tensors.",
            )
        meta = entry["tensor_meta"]
        shape, strides = (tuple(fields.whole(one) for one in meta[key]) for key in ("sizes", "strides"))
        offset, dtype = fields.whole(meta["storage_offset"]), DTYPES.get(meta["dtype"], "")
        if not dtype or meta["layout"] != _STRIDED or len(shape) != len(strides) or min((*shape, *strides, offset, 0)):
            raise ModelFileError(
                f"{self.shown}: {name!r} has the shape {shape}, strides {strides}, offset {offset} and type "
                f"{dtype or meta['dtype']}.",
                remedy="export a model of dense tensors again.",
            )
        there = self.archive.size(member)
        last = offset + sum((d - 1) * s for d, s in zip(shape, strides, strict=True)) + 1 if 0 not in shape else 0
        if (needed := last * width_of(dtype)) > max(there, 0):
            raise ModelFileError(
                f"{self.shown}: {name!r} of shape {list(shape)} needs {needed:,} bytes; {member} "
                + (f"has {there:,}." if there >= 0 else "is missing."),
                remedy=_AGAIN,
            )
        return Stored(name, member, shape, strides, offset, dtype, bool(entry["is_param"]))

    def values(self, stored: Stored) -> NDArray[Any]:
        """The values of a weight; bfloat16 comes as float32."""
        import numpy as np

        raw = self.archive.read(stored.member, self.archive.size(stored.member))
        if stored.dtype == "bfloat16":
            wide = np.frombuffer(raw, np.uint16).astype(np.uint32) << 16
            flat: NDArray[Any] = wide.view(np.float32)
        else:
            flat = np.frombuffer(raw[: len(raw) - len(raw) % width_of(stored.dtype)], stored.dtype)
        if not math.prod(stored.shape):
            return np.zeros(stored.shape, flat.dtype)
        strides = [s * flat.itemsize for s in stored.strides]
        return np.lib.stride_tricks.as_strided(flat[stored.offset :], stored.shape, strides, writeable=False)

    def real(self, stored: Stored) -> NDArray[Any]:
        """The values of a weight as real numbers: integers that the graph dequantizes are multiplied by their scale."""
        values = self.values(stored)
        if (scaling := self.packed.get(stored.name)) is None:
            return values
        shape = [-1 if axis == scaling.axis else 1 for axis in range(values.ndim)]
        scale, zero = (
            self.values(one).reshape(shape) if isinstance(one, Stored) else one for one in (scaling.scale, scaling.zero)
        )
        found: NDArray[Any] = ((values.astype("float32") - zero) * scale).astype("float32")
        return found

    @cached_property
    def packed(self) -> dict[str, Scaling]:
        """Stored integers that nodes make real numbers of, by their names: they are weights like any other."""
        found = {}
        for node in self.nodes:
            own = [self.constants[name] for name in node.inputs if name in self.constants]
            if not node.operator.startswith(_WIDENING) or len(own) != len(node.inputs):
                continue
            with contextlib.suppress(KeyError, ValueError, IndexError):  # an operator of another version
                if len(own) == _PARTS:
                    axis = int(node.attributes["axis"])
                    if own[1].shape == own[2].shape == (own[0].shape[axis],) and axis >= 0:
                        found[own[0].name] = Scaling(own[1], own[2], axis)
                elif len(own) == 1:
                    scale, zero = (float(node.attributes[name]) for name in ("scale", "zero_point"))
                    found[own[0].name] = Scaling(scale, zero)
        return found

    @cached_property
    def _scales(self) -> frozenset[str]:
        both = [one for scaling in self.packed.values() for one in (scaling.scale, scaling.zero)]
        return frozenset(one.name for one in both if isinstance(one, Stored))

    @cached_property
    def owned(self) -> dict[str, tuple[Stored, ...]]:
        """The weights of each node that uses one first, by the nodes' names.

        What only makes real numbers of weights hands them on to the node that reads these.
        """
        left = dict(self.constants)
        handed: dict[str, tuple[str, ...]] = {}
        found = {}
        for node in self.nodes:
            read = [name for given in node.inputs for name in handed.get(given, (given,))]
            if node.operator.startswith(_WIDENING) and all(name in self.constants for name in node.inputs):
                handed |= dict.fromkeys(node.outputs, node.inputs)
            elif own := tuple(left.pop(name) for name in dict.fromkeys(read) if name in left):
                found[node.name] = own
        return found

    @cached_property
    def names(self) -> dict[str, str]:
        """Names of layers by those of nodes: of the module whose weights a node has, if no other has it before."""
        found: dict[str, str] = {}
        taken = {node.name for node in self.nodes}
        for node in self.nodes:
            owned = next(iter(self.owned.get(node.name, ())), None)
            module = owned.name.rpartition(".")[0] if owned else ""
            found[node.name] = module if module and module not in taken else node.name
            taken.add(found[node.name])
        return found

    def count(self, stored: Stored) -> int:
        """Number of weights: whole numbers, such as counters of batches, are none, unless they are dequantized."""
        real = stored.dtype[:5] in ("float", "bfloa") and stored.name not in self._scales
        return math.prod(stored.shape) if real or stored.name in self.packed else 0


def width_of(dtype: str) -> int:
    """Bytes of a value."""
    return _WIDTHS.get(dtype) or int("".join(re.findall(r"\d+", dtype.partition("_")[0])) or 8) // 8


def opened(path: Path, *, trusted: bool = False) -> Program:
    """The program of a file, to be asked for its signature.

    Raises:
        ModelFileError: Truncated, damaged or forged.
        UnsafeModelError: It would run code of its own.
        UnsupportedModelError: Its inputs or outputs are not tensors.
    """
    with Archive(path) as archive:
        return Program(archive, trusted=trusted)
