"""One example as a model takes it: split up in parts that can be hidden, each with a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import Contract
from deploykit.core.errors import DatasetError, SettingError, unknown_name
from deploykit.data.dataset import Dataset
from deploykit.data.preprocess import Preprocess, prepared
from deploykit.measuring.attribution.attributing import Runnable
from deploykit.measuring.attribution.layout import Layout, as_text, layout_of, words_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Examples that stand for what is not shown.
BACKGROUND = 50


@dataclass(frozen=True)
class Subject:
    """A model that can be run, and what it is fed.

    Attributes:
        model: The model.
        preprocess: Input name → how raw examples become its inputs.
        classes: Class names by index.
        background: Other examples as the model takes them, by input name.
        data: Where examples given by their number come from, None if they cannot be.
    """

    model: Runnable
    preprocess: Mapping[str, Preprocess]
    classes: tuple[str, ...]
    background: Mapping[str, NDArray[Any]]
    data: Dataset | None

    @property
    def contract(self) -> Contract:
        """What its inputs and outputs mean."""
        return self.model.contract

    def prepare(self, raw: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Examples as the model takes them."""
        return prepared(raw, self.preprocess)


def raw_example(subject: Subject, x: Any, split: str) -> dict[str, NDArray[Any]]:
    """One raw example by input name, batch first."""
    import numpy as np

    data = subject.data
    if isinstance(x, int | np.integer) and not isinstance(x, bool):
        if data is None:
            raise SettingError("An example by its number needs data.", remedy="give data=, or the example itself.")
        if split not in data.splits:
            raise unknown_name("split", split, sorted(data.splits))
        chosen = data.splits[split]
        if not 0 <= x < len(chosen):
            raise SettingError(f"There is no example {x}.", remedy=f"choose one from 0 to {len(chosen) - 1}.")
        if chosen.prepared:
            raise SettingError(
                "Synthesized examples have no raw form.", remedy="give the example itself, as clients send it."
            )
        return {name: np.asarray(array) for name, array in chosen.take(slice(x, x + 1)).inputs.items()}
    raw = by_name(x, data.inputs if data is not None else subject.contract.asked, "x")
    known = data.splits["evaluation"].inputs if data is not None else {}
    return {name: _one(name, array, known[name].ndim if name in known else None) for name, array in raw.items()}


def by_name(given: Any, inputs: Sequence[str], what: str) -> dict[str, NDArray[Any]]:
    """Arrays by input name, of a dictionary or of the only input."""
    import numpy as np

    if isinstance(given, Mapping):
        if missing := [name for name in inputs if name not in given]:
            raise DatasetError(
                f"{what} lacks {', '.join(missing)}: it has {', '.join(map(str, given)) or 'nothing'}.",
                remedy="give one array for each input.",
            )
        return {name: _array(given[name]) for name in inputs}
    if len(inputs) != 1:
        raise DatasetError(
            f"{what} must be a dictionary by input name: {', '.join(inputs)}.", remedy="give one array for each input."
        )
    return {inputs[0]: np.asarray(_array(given))}


def _array(given: Any) -> NDArray[Any]:
    import numpy as np

    found = np.asarray(given)
    return found.astype(object) if found.dtype.kind in "SU" else found


def _one(name: str, array: NDArray[Any], axes: int | None) -> NDArray[Any]:
    """With the axis of the batch, which holds one example."""
    if axes is not None and array.ndim == axes - 1:
        return array[None]
    if array.ndim and len(array) == 1:
        return array
    raise DatasetError(
        f"Input {name!r} has shape {array.shape}: expected one example, with or without the axis of the batch.",
        remedy="give a single example, for example x[:1].",
    )


def without_batch(array: NDArray[Any]) -> NDArray[Any]:
    """The only example of a batch, an array whatever its type."""
    return array.reshape(array.shape[1:])


def layouts_of(subject: Subject, feeds: Mapping[str, NDArray[Any]]) -> list[Layout]:
    """How each input is split up."""
    found = []
    for name, array in feeds.items():
        meaning = subject.contract.input(name)
        integers = "int" in meaning.dtype and not meaning.raw and not meaning.scale and array.dtype.kind in "iu"
        found.append(layout_of(name, without_batch(array), integers=integers))
    return found


def shapes_of(feeds: Mapping[str, NDArray[Any]]) -> str:
    """Inputs and their shapes in words."""
    return ", ".join(f"{name} {array.shape[1:]}" for name, array in feeds.items())


def method_of(layout: Layout, wanted: str) -> str:
    """The method for an input."""
    if wanted == "auto":
        return "kernel_shap" if layout.kind == "table" else "occlusion"
    if wanted == "kernel_shap" and layout.kind not in ("table", "tokens"):
        raise SettingError(
            f"Input {layout.input!r} is taken for {layout.kind}: KernelSHAP is for columns of tables and for tokens.",
            remedy='leave method at "auto", or take "occlusion".',
        )
    return wanted


def index_of(answer: int | str | Sequence[int] | None, classes: Sequence[str]) -> tuple[int, ...] | None:
    """The index of an answer that was given."""
    if answer is None:
        return None
    if isinstance(answer, str):
        if answer not in classes:
            raise unknown_name("class", answer, classes)
        return (list(classes).index(answer),)
    return (int(answer),) if not isinstance(answer, Sequence) else tuple(map(int, answer))


def names_of(
    layout: Layout, example: NDArray[Any], names: Sequence[str] | Mapping[str, Sequence[str]], inputs: int
) -> tuple[str, ...]:
    """Of columns, tokens and words."""
    if layout.kind == "text":
        text = as_text(example.ravel()[0])
        return tuple(text[start:end] for start, end in words_of(text))
    given = tuple(names.get(layout.input, ()) if isinstance(names, Mapping) else names)
    if layout.kind not in ("table", "tokens"):
        return ()
    count = layout.shape[0]
    if given and (isinstance(names, Mapping) or inputs == 1):
        if len(given) != count:
            raise SettingError(
                f"{len(given)} names are given, input {layout.input!r} has {count} parts.", remedy="name each of them."
            )
        return given
    if layout.kind == "tokens":
        return tuple(f"{place}: {token}" for place, token in enumerate(example.tolist()))
    return (layout.input,) if count == 1 else tuple(f"{layout.input}[{place}]" for place in range(count))
