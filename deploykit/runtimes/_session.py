"""What an opened model is: it is fed and read as a contract says, whatever the file's own names and order are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from deploykit.core.contract import Contract, OutputMeaning
from deploykit.core.errors import UnsupportedModelError
from deploykit.core.model import TensorSpec, align
from deploykit.data.feeding import Feeding, forms
from deploykit.runtimes._writing import write

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Session:
    """An opened model. Subclasses fill `_run` (and `close` when they hold more than memory).

    Attributes:
        inputs: What the file takes, in its own order and with its own names.
        outputs: What it gives.
        delegate: The device or provider that really runs it.
        placed: What was left to another device than the one that was asked for, in words; "" for nothing.
        contract: What the model's inputs and outputs mean; None: examples are fed by the file's own names.
        tapped: What the last layer has seen of each batch that was run, until it is emptied; None where the session was
            not opened with a tap. It is not among the outputs: clients never see it.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    delegate: str = "cpu"
    placed: str = ""
    contract: Contract | None = None
    tapped: list[NDArray[Any]] | None = None

    def _run(self, arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Run once: arrays in the order of ``inputs``, results in the order of ``outputs``."""
        raise NotImplementedError

    def as_it_is(self, *, any_shape: bool) -> Self:
        """Take and give the file's own numbers, quantized or not.

        Args:
            any_shape: Leave examples of other shapes than the declared ones to the runtime.
        """
        self.inputs, self.outputs = (
            tuple(replace(s, scale=0.0, zero_point=0, shape=None if any_shape else s.shape) for s in specs)
            for specs in (self.inputs, self.outputs)
        )
        return self

    def run(self, arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Run once on arrays that `arrange` has made: the call whose latency is measured."""
        return self._run(arrays)

    def hasten(self) -> None:
        """Get ready for many calls with inputs of one form, which may take seconds; most have nothing to do."""

    def follow(self, contract: Contract | None) -> Self:
        """Take examples and give outputs by the names of a contract, with its constants, state and batch axes.

        Raises:
            UnsupportedModelError: The file's tensors cannot be distinguished, or one is missing.
        """
        self.contract = contract
        for found in ("feeding", "_named_outputs"):
            self.__dict__.pop(found, None)
        if contract is not None:
            _ = self.feeding, self._named_outputs
        return self

    @cached_property
    def feeding(self) -> Feeding:
        """Where examples go in the file."""
        return Feeding.of(self.contract, self.inputs)

    @cached_property
    def _named_outputs(self) -> Sequence[tuple[int, TensorSpec, OutputMeaning]]:
        """The contract's outputs in its order: place in the file, what the file gives."""
        assert self.contract is not None
        wanted = self.contract.outputs
        found = align([o.name for o in wanted], [s.name for s in self.outputs], (forms(wanted), forms(self.outputs)))
        if missing := [o.name for o, place in zip(wanted, found, strict=True) if place < 0]:
            raise UnsupportedModelError(
                f"The file has no output {', '.join(missing)}; it has {', '.join(s.name for s in self.outputs)}.",
                remedy="please report this: a conversion has dropped an output.",
            )
        return [(place, self.outputs[place], o) for o, place in zip(wanted, found, strict=True)]

    @property
    def batch_size(self) -> int | None:
        """The fixed batch size, None when it is free; constants have none."""
        return self.feeding.batch_size

    @property
    def given(self) -> Sequence[tuple[TensorSpec, OutputMeaning]]:
        """What the file gives for each output of the contract, in the contract's order."""
        return [(spec, meaning) for _, spec, meaning in self._named_outputs]

    def arrange(
        self, feeds: Mapping[str, NDArray[Any]], carried: Mapping[str, NDArray[Any]] | None = None
    ) -> list[NDArray[Any]]:
        """Arrays for `run` from preprocessed examples by the model's input names, batch first.

        Names are matched to the file's; real numbers are quantized when the file takes integers. Constants and fresh
        state are added.

        Args:
            feeds: Input name → examples.
            carried: Input name → state as the file gave it.

        Raises:
            DatasetError: An input is missing, or its shape or dtype cannot be used.
        """
        return self.feeding.arrange(feeds, carried)

    def predict(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs by name, for any number of examples, batch first; quantized outputs as real numbers.

        Names are the contract's, or the file's without one. Examples that are sequences are run step by step, each
        from fresh state; their outputs have the steps on axis 1.
        """
        import numpy as np

        count = len(next(iter(feeds.values()), ()))
        if self.contract is not None and self.contract.decoder is not None and self.contract.decoder.write:
            return {self.contract.scored.name: write(self, feeds, self.contract.decoder)}
        size = self.batch_size or count or 1
        if count == size:
            return self._predict_batch(feeds)
        parts: dict[str, list[NDArray[Any]]] = {}
        for start in range(0, count or 1, size):
            chunk = {name: value[start : start + size] for name, value in feeds.items()}
            given = len(next(iter(chunk.values()), ()))
            if given < size:  # the last batch of a model with a fixed batch size
                chunk = {n: np.concatenate([c, np.repeat(c[-1:], size - given, axis=0)]) for n, c in chunk.items()}
            for name, value in self._predict_batch(chunk).items():
                whole = value[:given] if value.ndim and len(value) == size else value
                parts.setdefault(name, []).append(whole)
        return {name: np.concatenate(part) if len(part) > 1 else part[0] for name, part in parts.items()}

    def _predict_batch(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        import numpy as np

        contract = self.contract
        if contract is None:
            found = zip(self.outputs, self._run(self.arrange(feeds)), strict=True)
            return {spec.name: _real(spec, np.array(value)) for spec, value in found}
        count = len(next(iter(feeds.values()), ()))
        if not contract.sequences:
            return self._named(self._run(self.arrange(feeds)), count)
        steps: list[dict[str, NDArray[Any]]] = []
        carried: dict[str, NDArray[Any]] = {}
        stepped = {n for n, v in feeds.items() if self.feeding.is_stepped(n, v)}
        for step in range(len(next(iter(feeds[n][0] for n in stepped)))):
            now = {n: v[:, step] if n in stepped else v for n, v in feeds.items()}
            values = self._run(self.arrange(now, carried))
            steps.append(self._named(values, count))
            by_name = {meaning.name: np.array(values[place]) for place, _, meaning in self._named_outputs}
            carried = {fed: by_name[made] for made, fed in contract.state.items()}
        return {name: np.stack([s[name] for s in steps], axis=1) for name in steps[0]}

    def answer(self, values: Sequence[NDArray[Any]], name: str) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        """One output of a run, batch first, and all as the file gave them, by the contract's names.

        Args:
            values: What `run` gave.
            name: The output.
        """
        import numpy as np

        by_name = {meaning.name: values[place] for place, _, meaning in self._named_outputs}
        spec, meaning = next((s, m) for _, s, m in self._named_outputs if m.name == name)
        found = _real(spec, np.asarray(by_name[name]))
        return (np.moveaxis(found, meaning.batch_axis, 0) if meaning.batch_axis else found), by_name

    def _named(self, values: Sequence[NDArray[Any]], count: int) -> dict[str, NDArray[Any]]:
        """Outputs by the contract's names, batch first; each of ``count`` examples gets what is the same for all."""
        import numpy as np

        found = {}
        for place, spec, meaning in self._named_outputs:
            value = _real(spec, np.array(values[place]))
            if meaning.fixed:
                found[meaning.name] = np.repeat(value[None], count, axis=0)
                continue
            found[meaning.name] = np.moveaxis(value, meaning.batch_axis, 0) if meaning.batch_axis else value
        return found

    def close(self) -> None:
        """Free what it holds."""


def _real(spec: TensorSpec, value: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    if not spec.scale:
        return value
    return ((value.astype(np.float32) - np.float32(spec.zero_point)) * np.float32(spec.scale)).astype(np.float32)
