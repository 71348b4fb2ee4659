"""What clients send and get: the meaning of a number, and which dimensions are free, follow the original model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.wire import DATATYPES
from deploykit.core.contract import Contract, InputMeaning, OutputMeaning
from deploykit.core.errors import DatasetError
from deploykit.core.model import TensorSpec
from deploykit.data.preprocess import Preprocess

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Dims = tuple[int | None, ...]


def client_inputs(
    contract: Contract,
    raw: Mapping[str, NDArray[Any]],
    preprocess: Mapping[str, Preprocess],
    fed: Iterable[tuple[TensorSpec, InputMeaning | None]],
) -> tuple[TensorSpec, ...]:
    """What clients may send, in the contract's order: constants are left out, a state is one of them.

    So is what follows from a decoder's tokens. A decoder that writes keeps both to itself.

    What preprocessing and the file fix is fixed; all other dimensions that are free in the model stay free, the batch
    too.

    Args:
        contract: What the inputs mean.
        raw: Raw examples by input name, batch first.
        preprocess: Input name → what is applied to them.
        fed: The file's inputs, and what they mean.
    """
    held = {meaning.name: spec for spec, meaning in fed if meaning is not None}
    specs: list[TensorSpec] = []
    for meaning in contract.inputs:
        if meaning.how == "tokens":  # one text for all that the tokenizer makes of it
            if all(spec.name != meaning.source for spec in specs):
                specs.append(TensorSpec(meaning.source, (None, *raw[meaning.source].shape[1:]), "string"))
            continue
        wanted = _free(meaning, held[meaning.name])
        if meaning.name in raw:
            step = preprocess.get(meaning.name, Preprocess())
            array = raw[meaning.name]
            steps = contract.sequences and wanted is not None and array.ndim == len(wanted) + 2
            dims = (None, *_dims(array.shape[2:], wanted, step)) if steps else _dims(array.shape[1:], wanted, step)
            specs.append(TensorSpec(meaning.name, (None, *dims), _dtype(meaning, array, step)))
        elif meaning.is_carried or meaning.how == "derived":
            if contract.decoder is not None and contract.decoder.write:
                continue  # it starts with an empty cache, and keeps it to itself
            shape = None if wanted is None else (None, *wanted)
            specs.append(TensorSpec(meaning.name, shape, _dtype(meaning, None, Preprocess())))
    return tuple(specs)


def client_outputs(
    contract: Contract,
    given: Iterable[tuple[TensorSpec, OutputMeaning]],
    outputs: Mapping[str, NDArray[Any]],
    count: int,
) -> tuple[TensorSpec, ...]:
    """What clients get, in the contract's order.

    Args:
        contract: What the outputs mean.
        given: What the file gives for each.
        outputs: Answers to examples, batch first.
        count: Number of those examples.

    Raises:
        DatasetError: An output has no batch.
    """
    specs = []
    for spec, meaning in given:
        if meaning.name not in outputs:  # a decoder that writes keeps its cache to itself
            continue
        array = outputs[meaning.name]
        if array.ndim == 0 or len(array) != count:
            raise DatasetError(
                f"Output {meaning.name!r} has shape {array.shape} for {count} examples: its first dimension is not the "
                "batch.",
                remedy="deploykit serves models whose outputs have the batch as their first dimension.",
            )
        ways = [
            shape if meaning.fixed else _without_batch(shape, meaning.batch_axis)
            for shape in (meaning.shape, spec.shape)
        ]
        rest = array.shape[2:] if contract.sequences else array.shape[1:]
        dims = tuple(
            None if any(way is None or len(way) != len(rest) or way[axis] is None for way in ways) else int(size)
            for axis, size in enumerate(rest)
        )
        steps = (None,) if contract.sequences else ()
        specs.append(TensorSpec(meaning.name, (None, *steps, *dims), _name(array)))
    return tuple(specs)


def takes_real(meaning: InputMeaning) -> bool:
    """Whether an input is real numbers to clients: the model's are, or it quantizes what it is given."""
    return not meaning.raw and (meaning.dtype.startswith(("float", "bfloat")) or bool(meaning.scale))


def _dtype(meaning: InputMeaning, array: NDArray[Any] | None, step: Preprocess) -> str:
    """The declared dtype: the model's own; bytes of images stay bytes where preprocessing turns them into numbers."""
    if not takes_real(meaning):
        return meaning.dtype
    if array is not None and array.dtype.name == "uint8" and (step.resize is not None or _computes(meaning, step)):
        return "uint8"
    return meaning.dtype if meaning.dtype.startswith("float") and meaning.dtype in DATATYPES else "float32"


def _computes(meaning: InputMeaning, step: Preprocess) -> bool:
    return meaning.given.startswith("float") and not step.is_identity


def _free(meaning: InputMeaning, spec: TensorSpec) -> Dims | None:
    """Shape of one example as model and file take it; None for what both leave free, None as a whole for any rank."""
    model = _without_batch(meaning.shape, meaning.batch_axis)
    file = _without_batch(spec.shape, meaning.batch_axis)
    if model is None or file is None or len(model) != len(file):
        return model or file
    return tuple(m if f is None else f for m, f in zip(model, file, strict=True))


def _without_batch(shape: Dims | None, axis: int) -> Dims | None:
    return None if shape is None else (*shape[:axis], *shape[axis + 1 :])


def _dims(given: tuple[int, ...], wanted: Dims | None, step: Preprocess) -> Dims:
    """Shape of one raw example, None where clients may send any size."""
    if step.reshape is not None:
        return given
    dims: list[int | None] = list(given)
    order = _order(step, len(given))
    for place, axis in enumerate(order):
        if wanted is None or (len(wanted) == len(order) and wanted[place] is None):
            dims[axis] = None
    for axis in step.free_axes(given):
        dims[axis] = None
    channels = max(len(v) if isinstance(v, tuple) else 0 for v in (step.mean, step.std))
    if step.channels is not None or channels:  # there must be as many as there are numbers for them
        axis = _channel_axis(given, channels or 3, first_becomes_last=step.layout == "channels_last")
        dims[axis] = given[axis]
    return tuple(dims)


def _order(step: Preprocess, rank: int) -> Sequence[int]:
    """Raw axis of each axis that the model takes."""
    kept = tuple(range(rank))
    if step.transpose is not None:
        return step.transpose
    if step.layout is None:
        return kept
    return (*kept[1:], 0) if step.layout == "channels_last" else (kept[-1], *kept[:-1])


def _channel_axis(given: tuple[int, ...], channels: int, *, first_becomes_last: bool) -> int:
    if first_becomes_last:
        return 0
    last = len(given) - 1
    return 0 if len(given) == 3 and given[last] != channels and given[0] == channels else last


def _name(array: NDArray[Any]) -> str:
    return "string" if array.dtype.kind in "SUO" else array.dtype.name
