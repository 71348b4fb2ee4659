"""Brings examples to the inputs of a file as a contract says: sessions, calibration and training do it alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from deploykit.core.contract import Contract, InputMeaning
from deploykit.core.errors import DatasetError, UnsupportedModelError
from deploykit.core.model import TensorSpec, align, fits_shape
from deploykit.data.caching import completed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Feeding:
    """Where the data of a contract go in a file.

    Attributes:
        contract: What the model's inputs mean; None: examples are fed by the file's own names.
        inputs: The file's inputs in its order, with the batch where the contract has it, and what each means.
    """

    contract: Contract | None
    inputs: Sequence[tuple[TensorSpec, InputMeaning | None]]

    @classmethod
    def of(cls, contract: Contract | None, inputs: Sequence[TensorSpec]) -> Self:
        """Find the contract's inputs in a file.

        Raises:
            UnsupportedModelError: The file's tensors cannot be distinguished, or one is missing.
        """
        if contract is None:
            return cls(None, [(spec, None) for spec in inputs])
        taken, given = [i.name for i in contract.inputs], [s.name for s in inputs]
        if len(taken) != len(given):
            raise UnsupportedModelError(
                f"The file takes {', '.join(given)}, the original model {', '.join(taken)}.",
                remedy="please report this: a conversion has changed the inputs.",
            )
        order = align(given, taken, (forms(inputs), forms(contract.inputs)))
        fed = [(spec, contract.inputs[j]) for spec, j in zip(inputs, order, strict=True)]
        return cls(contract, [(replace(spec, batch_axis=meaning.batch_axis), meaning) for spec, meaning in fed])

    @cached_property
    def batch_size(self) -> int | None:
        """The fixed batch size, None when it is free; constants have none."""
        varied = (spec for spec, meaning in self.inputs if meaning is None or meaning.how != "constant")
        return next((spec.batch_size for spec in varied if spec.batch_size), None)

    def arrange(
        self, feeds: Mapping[str, NDArray[Any]], carried: Mapping[str, NDArray[Any]] | None = None
    ) -> list[NDArray[Any]]:
        """Arrays in the order and dtypes of the file's inputs; see `deploykit.runtimes._contract.Session.arrange`."""
        if self.contract is None:
            return self._arrange_plain(feeds)
        count = len(next(iter(feeds.values()), ()))
        if self.contract.decoder is not None:
            feeds = completed(self.contract.decoder, self.contract.inputs, feeds, self._cached(feeds, carried))
        arrays = []
        for spec, meaning in self.inputs:
            assert meaning is not None
            if carried and meaning.name in carried:
                arrays.append(carried[meaning.name])
            elif meaning.name in feeds:
                arrays.append(_fit(spec, feeds[meaning.name], raw=meaning.raw))
            elif meaning.how == "cache":
                arrays.append(_filled(self._empty(spec, meaning), 0, count))
            elif meaning.how in ("constant", "state"):
                arrays.append(_filled(spec, self.contract.constants.get(meaning.name, 0), count))
            else:
                raise DatasetError(
                    f"Input {meaning.name!r} is missing: got {', '.join(feeds) or 'nothing'}.",
                    remedy="give one array for each input.",
                )
        return arrays

    def _cached(self, feeds: Mapping[str, NDArray[Any]], carried: Mapping[str, NDArray[Any]] | None) -> int:
        """Tokens in the cache that comes with examples: as the file gave it, or from a caller, batch first."""
        decoder = None if self.contract is None else self.contract.decoder
        for name, axis in ((decoder and decoder.cache) or {}).items():
            if carried and name in carried:
                return int(carried[name].shape[axis])
            if name in feeds:  # batch first
                return int(feeds[name].shape[max(axis, 1)])
        return 0

    def _empty(self, spec: TensorSpec, meaning: InputMeaning) -> TensorSpec:
        """A cache before the first token: nothing on its axis of tokens."""
        decoder = None if self.contract is None else self.contract.decoder
        axis = ((decoder and decoder.cache) or {})[meaning.name]
        return replace(spec, shape=tuple(0 if a == axis else size for a, size in enumerate(spec.shape or ())))

    def _arrange_plain(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        specs = [spec for spec, _ in self.inputs]
        if len(feeds) != len(specs):
            raise DatasetError(
                f"The model takes {len(specs)} input(s): {'; '.join(map(str, specs))}; got "
                f"{len(feeds)}: {', '.join(feeds)}.",
                remedy="give a dictionary with one array for each input.",
            )
        names = list(feeds)
        order = align([spec.name for spec in specs], names)
        return [_fit(spec, feeds[names[j]]) for spec, j in zip(specs, order, strict=True)]

    def is_stepped(self, name: str, value: NDArray[Any]) -> bool:
        """Whether an array holds sequences of steps (axis 1) for an input."""
        meaning = None if self.contract is None else self.contract.input(name)
        if meaning is None or meaning.is_carried or meaning.shape is None:
            return False
        return value.ndim == len(meaning.shape) + 1

    def first_step(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The first step of examples that are sequences; others as they are."""
        sequences = self.contract is not None and self.contract.sequences
        return {k: v[:, 0] if sequences and self.is_stepped(k, v) else v for k, v in feeds.items()}


def forms(tensors: Sequence[Any]) -> list[object]:
    """Shape without the batch, and whether it is text: what conversions keep."""
    return [(None if t.shape is None else len(t.shape), tuple(t.shape or ())[1:], t.dtype == "string") for t in tensors]


def _fit(spec: TensorSpec, value: NDArray[Any], *, raw: bool = False) -> NDArray[Any]:
    """Examples as the file takes them: in its dtype, with the batch on its axis."""
    import numpy as np

    if spec.dtype == "string":
        return np.asarray(value, object)
    wanted = np.dtype(spec.dtype)
    if spec.scale and not raw:  # real numbers, also where their dtype is the file's
        if value.dtype.kind == "f" and np.isnan(value).any():
            raise DatasetError(
                f"Input {spec.name!r}: NaN cannot be quantized.", remedy="give numbers, or a model in float32."
            )
        info = np.iinfo(wanted)
        value = np.clip(np.rint(value.astype(np.float32) / spec.scale) + spec.zero_point, info.min, info.max)
    elif value.dtype != wanted and not _holds(wanted, value):
        raise DatasetError(
            f"Input {spec.name!r}: the model takes {spec.dtype}, got {value.dtype}.",
            remedy="convert the data to that dtype.",
        )
    if not fits_shape(spec.example_shape, value.shape[1:]):
        raise DatasetError(
            f"Input {spec.name!r}: the model takes examples of shape {spec.example_shape}, got {value.shape[1:]}.",
            remedy="give examples of that shape.",
        )
    moved = np.moveaxis(value, 0, spec.batch_axis) if spec.batch_axis else value
    if wanted.kind == value.dtype.kind == "f" and wanted.itemsize < value.dtype.itemsize:
        largest = np.abs(value[np.isfinite(value)]).max(initial=0.0)
        if largest > np.finfo(wanted).max:
            raise DatasetError(
                f"Input {spec.name!r}: {largest:g} is outside the range of the model's {spec.dtype}.",
                remedy="scale the data, or drop such examples.",
            )
    return np.ascontiguousarray(moved, wanted)


def _filled(spec: TensorSpec, value: Any, count: int) -> NDArray[Any]:
    """A constant, or fresh state: for each example where the file has a batch."""
    import numpy as np

    dtype: Any = object if spec.dtype == "string" else np.dtype(spec.dtype)
    array = np.asarray(value, dtype)
    if spec.shape is None or (array.shape == spec.shape):
        return array
    dims = [count if axis == spec.batch_axis else size for axis, size in enumerate(spec.shape)]
    if spec.shape and spec.shape[min(spec.batch_axis, len(spec.shape) - 1)] is not None:
        dims = list(spec.shape)
    given = array.shape if array.ndim == len(dims) else ()
    dims = [g if size is None and given else size for size, g in zip(dims, given or dims, strict=True)]
    if any(size is None for size in dims):
        raise DatasetError(
            f"Input {spec.name!r}: its shape {spec.shape} is not fully known, so a constant cannot fill it.",
            remedy="give an array of the full shape.",
        )
    return np.ascontiguousarray(np.broadcast_to(array, [int(size or 0) for size in dims]))


def _holds(wanted: np.dtype[Any], value: NDArray[Any]) -> bool:
    """Whether a dtype can hold the values: rounding of real numbers is allowed, whole numbers must fit."""
    import numpy as np

    if wanted.kind == "b" and value.dtype.kind in "iu":
        return bool(np.isin(value, (0, 1)).all())
    if wanted.kind not in "iu" or value.dtype.kind not in "iu":
        return bool(np.can_cast(value.dtype, wanted, "same_kind"))
    if np.can_cast(value.dtype, wanted, "safe") or not value.size:
        return True
    info = np.iinfo(wanted)
    return bool(value.min() >= info.min and value.max() <= info.max)
