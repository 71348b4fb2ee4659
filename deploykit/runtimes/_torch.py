"""Opens programs and TorchScript with PyTorch, in a child process alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.core.model import TensorSpec
from deploykit.readers.archive import MAX_JSON_BYTES
from deploykit.readers.pytorch import pickles
from deploykit.readers.pytorch.archive import GRAPH, TWO_LINES, Archive
from deploykit.readers.pytorch.program import Program
from deploykit.runtimes._session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Most bytes of the pickle that holds the shapes with which a module was traced.
_TRACED_BYTES = 1 << 20
#: Types of storage in pickles, and what they hold.
_STORAGE = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "LongStorage": "int64",
    "IntStorage": "int32", "BoolStorage": "bool", "ByteStorage": "uint8", "BFloat16Storage": "float32",
}  # fmt: skip
#: What the graph of a program says that quantizes, and the module in which PyTorch keeps such operators.
_QUANTIZING, _QUANTIZERS = b"quantized_decomposed", "torch.ao.quantization.fx._decomposed"
#: Batches with which it is found out whether the batch is free.
_BATCHES = (2, 3)

Call = Callable[[Sequence[Any]], Sequence[Any]]


class TorchSession(Session):
    """An opened model of PyTorch.

    Args:
        call: Takes and gives tensors on the device.
        inputs: What it takes.
        outputs: What it gives.
        device: Where its weights are.
    """

    def __init__(
        self, call: Call, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], device: str = "cpu"
    ) -> None:
        self._torch = pytorch()
        self._call = call
        self._device = None if device == "cpu" else self._torch.device(device)
        self.inputs, self.outputs, self.delegate = inputs, outputs, device

    def arrange(
        self, feeds: Mapping[str, NDArray[Any]], carried: Mapping[str, NDArray[Any]] | None = None
    ) -> list[NDArray[Any]]:
        # A tensor shares the memory of an array, which must allow writing. Compiled programs read it in the order of
        # its axes, without a look at how it lies in memory: an array that was transposed would be misread.
        found = super().arrange(feeds, carried)
        return [a if a.flags.writeable and _in_order(a) else a.copy() for a in found]

    def _run(self, arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        torch = self._torch
        given = [torch.from_numpy(a) for a in arrays]
        with torch.inference_mode():
            if self._device is not None:
                given = [one.to(self._device) for one in given]
            return [_array(torch, one) for one in self._call(given)]


def _in_order(array: NDArray[Any]) -> bool:
    """Whether strides are those of a new array, also along axes of one value: NumPy and PyTorch do not mind those.

    Convolutions take such strides for the order of channels, and lay answers out as compiled code does not expect.
    """
    step = array.itemsize
    for size, stride in zip(reversed(array.shape), reversed(array.strides), strict=True):
        if stride != step:
            return False
        step *= max(size, 1)
    return True


def _array(torch: Any, value: Any) -> NDArray[Any]:
    if value.dtype is torch.bfloat16:
        value = value.float()
    found: NDArray[Any] = value.cpu().numpy() if value.device.type != "cpu" else value.numpy()
    return found


def pytorch() -> Any:
    """PyTorch, which opens no pickles of unknown classes from now on."""
    # torch.export.load unpickles examples without limits when the safe unpickler refuses them, but for this.
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    return require("torch", "torch")


def unable(name: str, error: Exception) -> UnsupportedModelError:
    """What PyTorch says of a file that it cannot open."""
    import torch

    text = " ".join(str(error).split())[:400]
    return UnsupportedModelError(
        f"PyTorch {torch.__version__} cannot open {name}: {type(error).__name__}: {text}",
        remedy=f"export it again with this version: {TWO_LINES}",
    )


def load_program(path: Path) -> Any:
    """The program of a file that its format has let pass.

    Raises:
        UnsupportedModelError: PyTorch cannot open it.
    """
    torch = pytorch()
    with Archive(path) as archive:
        if archive.has(GRAPH) and _QUANTIZING in archive.read(GRAPH, MAX_JSON_BYTES):
            require(_QUANTIZERS, "torch")
    try:
        with path.open("rb") as file:
            program = torch.export.load(file)
    except Exception as error:  # whatever its deserializer runs into
        raise unable(path.name, error) from error
    program._guards_code = []  # texts that it would run as Python; shapes are checked before it is called
    return program


def caller(program: Any) -> Callable[[Any, Sequence[Any]], Sequence[Any]]:
    """What calls a function that takes and gives what a program does, with flat inputs, and gives flat outputs."""
    torch = pytorch()
    tree = torch.utils._pytree
    spec = program.call_spec.in_spec
    plain = tree.tree_unflatten([None] * spec.num_leaves, spec) == ((None,) * spec.num_leaves, {})

    def call(function: Any, given: Sequence[Any]) -> Sequence[Any]:
        if plain:
            found = function(*given)
        else:
            args, kwargs = tree.tree_unflatten(list(given), spec)
            found = function(*args, **kwargs)
        return (found,) if isinstance(found, torch.Tensor) else tree.tree_leaves(found)

    return call


def unguarded(program: Any) -> Any:
    """The module of a program, which checks no shapes: that has been done."""
    module = program.module(check_guards=False)
    module._forward_pre_hooks.clear()
    return module


def call_of(program: Any) -> Call:
    """A program as a function from flat inputs to flat outputs."""
    return partial(caller(program), unguarded(program))


def open_program(path: Path, device: str) -> TorchSession:
    """An exported program, to be run operator by operator.

    Raises:
        UnsupportedModelError: PyTorch cannot open it.
    """
    with Archive(path) as archive:
        known = Program(archive, trusted=True)
    program = load_program(path)
    if device != "cpu":
        program = moved(program, device)
    return TorchSession(call_of(program), known.inputs, known.outputs, device)


def moved(program: Any, device: str) -> Any:
    """A program with its weights, and whatever it makes itself, on a device."""
    return require("torch.export.passes", "torch").move_to_device_pass(program, device)


class Script:
    """TorchScript that has been loaded.

    Attributes:
        module: The module, in evaluation mode.
        inputs: What it takes.
        outputs: What it gives.
        examples: Zeros with which it runs.
    """

    def __init__(self, module: Any, name: str, known: Sequence[tuple[str, tuple[int, ...]]]) -> None:
        self.module = module
        self._name = name
        arguments = [a for a in module.forward.schema.arguments[1:] if not a.has_default_value()]
        if odd := [f"{a.name}: {a.type}" for a in arguments if str(a.type) != "Tensor"]:
            raise UnsupportedModelError(
                f"{name}: forward takes {', '.join(odd)}, not tensors.", remedy=f"export it: {TWO_LINES}"
            )
        if len(known) != len(arguments):
            raise UnsupportedModelError(
                f"{name}: TorchScript that was not traced does not say which shapes it takes.",
                remedy=f"save what torch.jit.trace gives, or make a .pt2 file: {TWO_LINES}",
            )
        self._forms = [(a.name, shape, dtype) for a, (dtype, shape) in zip(arguments, known, strict=True)]
        self._sign()

    def _zeros(self, batch: int | None) -> list[Any]:
        torch = pytorch()
        return [
            torch.zeros(shape if batch is None or not shape else (batch, *shape[1:]), dtype=getattr(torch, dtype))
            for _, shape, dtype in self._forms
        ]

    def _sign(self) -> None:
        """Run it with its own batch, and with two others to see whether the batch is free."""
        self.examples = self._zeros(None)
        names, own = self._answers(self.examples)
        try:
            free: list[list[Any]] = [self._answers(self._zeros(batch))[1] for batch in _BATCHES]
        except UnsupportedModelError:
            free = []
        self.free = bool(free)
        self.inputs = tuple(
            TensorSpec(name, (None, *shape[1:]) if free and shape else shape, dtype)
            for name, shape, dtype in self._forms
        )
        outputs = []
        for place, (name, value) in enumerate(zip(names, own, strict=True)):
            shape: tuple[int | None, ...] = tuple(value.shape)
            sizes = [tuple(one[place].shape) for one in free]
            if shape and sizes and all(len(s) == len(shape) for s in sizes):
                shape = tuple(own if len({own, *(s[i] for s in sizes)}) == 1 else None for i, own in enumerate(shape))
            outputs.append(TensorSpec(name, shape, _dtype(value)))
        self.outputs = tuple(outputs)

    def _answers(self, given: Sequence[Any]) -> tuple[list[str], list[Any]]:
        torch = pytorch()
        try:
            with torch.inference_mode():
                found = self.module(*given)
        except Exception as error:  # operators raise what they like
            raise unable(self._name, error) from error
        if isinstance(found, dict):
            return [str(key) for key in found], list(found.values())
        values = [found] if isinstance(found, torch.Tensor) else torch.utils._pytree.tree_leaves(found)
        if not values or not all(isinstance(one, torch.Tensor) for one in values):
            raise UnsupportedModelError(f"{self._name} gives something that is not a tensor.", remedy="give tensors.")
        return ["output"] if len(values) == 1 else [f"output_{i}" for i in range(len(values))], values

    def call(self, given: Sequence[Any]) -> Sequence[Any]:
        """Answers for tensors."""
        return self._answers(given)[1]

    def layers(self) -> Iterator[tuple[str, str, int]]:
        """Name, class and number of weights of each module that has no modules inside, in order."""
        for name, module in self.module.named_modules():
            if next(module.children(), None) is None:
                count = sum(w.numel() for w in [*module.parameters(), *module.buffers()] if w.is_floating_point())
                yield name or "module", str(module.original_name), count

    def flaws(self) -> dict[str, str]:
        """Weights that are not finite, and what they hold."""
        found = {}
        for name, value in [*self.module.named_parameters(), *self.module.named_buffers()]:
            if value.is_floating_point() and not value.isfinite().all():
                found[name] = "NaN" if value.isnan().any() else "infinite values"
        return found


def opened_script(path: Path, device: str = "cpu") -> Script:
    """A TorchScript file that its format has let pass.

    Raises:
        UnsupportedModelError: PyTorch cannot open it, or its inputs are not known.
    """
    import warnings

    torch = pytorch()
    with Archive(path) as archive:
        traced = archive.read("traced_inputs.pkl", _TRACED_BYTES) if archive.has("traced_inputs.pkl") else b""
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore", DeprecationWarning)  # PyTorch would rather have .pt2
            module = torch.jit.load(file, map_location=device).eval()
    except Exception as error:  # whatever its compiler runs into
        raise unable(path.name, error) from error
    shapes = [(_STORAGE.get(storage, "float32"), shape) for storage, shape in pickles.shapes(traced)]
    return Script(module, path.name, shapes)


def _dtype(value: Any) -> str:
    name = str(value.dtype).removeprefix("torch.")
    return "float32" if name == "bfloat16" else name


def is_script(path: Path) -> bool:
    """Whether a file holds TorchScript."""
    with Archive(path) as archive:
        return archive.kind == "script"
