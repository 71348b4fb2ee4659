"""The task that runs a model on one example with parts of it hidden: in a child process."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.candidate import Target
from deploykit.core.contract import Contract
from deploykit.core.errors import CandidateError, SettingError
from deploykit.data.texts import with_objects, without_objects
from deploykit.measuring.answers import are_classes, read_as, shares
from deploykit.measuring.attribution.layout import PATCHED, Layout, as_text, patch_of, tilings, words_of
from deploykit.measuring.attribution.shapley import EXACT, exact, sampled
from deploykit.runtimes._contract import RUNTIMES
from deploykit.runtimes._session import Session
from deploykit.sandbox.task import Report

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Feeds = Mapping[str, NDArray[Any]]

_BATCH = 64


def attribute(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Run a model on an example with parts hidden.

    Args:
        arguments: ``path format target contract`` of the model, and those of `attribute_in`; ``background`` (``.npz``):
            other preprocessed examples, may be empty.
        report: Progress in masks.

    Returns:
        See `attribute_in`.
    """
    target, contract = Target.from_json(arguments["target"]), Contract.from_json(arguments["contract"])
    session = RUNTIMES.get(target.runtime).open(Path(arguments["path"]), target, arguments["format"], contract)
    size = target.batch_size if contract.batch_dependent else 0
    found = attribute_in(session, contract, size, load(arguments["background"]), arguments, report)
    session.close()
    return found


def attribute_in(
    session: Session, contract: Contract, size: int, background: Feeds, arguments: dict[str, Any], report: Report
) -> dict[str, Any]:
    """Run an opened model on an example with parts hidden.

    Args:
        session: The model.
        contract: What its inputs and outputs mean.
        size: Examples that run at once where answers depend on the batch, else 0.
        background: Other preprocessed examples by input name, may be empty.
        arguments: ``inputs`` (``.npz``): one preprocessed example; ``layouts``: plain `Layout` for each input;
            ``method``: input → ``"occlusion"`` or ``"kernel_shap"``; ``answer``: index of the number to explain, None
            for the likeliest class; ``patch``, ``tilings``, ``coalitions``, ``fill``, ``seed``: see
            ``deploykit.explain_example``; ``twins``: how often it is repeated with another seed; ``out``
            (``.npz``): the values by input, those of another seed under ``twin NUMBER/``.
        report: Progress in masks.

    Returns:
        ``answer``; ``score``; ``base``: mean outcome of the background, None where it was not used; ``noise``: standard
        error of sampled Shapley values, None where none were; ``exact``: whether chance had no part; ``runs``: examples
        that the model was run on; ``shape`` of the numbers it gives for an example.
    """
    import numpy as np

    feeds = load(arguments["inputs"])
    model = _Answering(session, contract, size or _BATCH)
    model.choose(feeds, arguments["answer"])
    work = _Hiding(model, feeds, _used(background, arguments), arguments, report)
    found = work.run()
    np.savez(arguments["out"], **work.values)
    return found


def _used(background: Feeds, arguments: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """What stands for what is not shown: of tokens, whose place a fixed number takes, nothing.

    Raises:
        SettingError: There is nothing for a table.
    """
    layouts = [Layout.from_json(one) for one in arguments["layouts"]]
    found = {one.input: background[one.input] for one in layouts if one.kind != "tokens" and one.input in background}
    bare = [one for one in layouts if one.kind == "table" and arguments["method"][one.input] == "kernel_shap"]
    if any(one.input not in found for one in bare):
        raise SettingError("Shapley values need other examples.", remedy="give background=, or data=.")
    return found


class _Answering:
    """A model whose answer is one number: the confidence in a class, or one of the numbers that it gives."""

    def __init__(self, session: Session, contract: Contract, batch: int) -> None:
        self._session = session
        self._contract = contract
        self._batch = batch
        self.answer: tuple[int, ...] = ()
        self.score = 0.0
        self.runs = 0
        self.shape: tuple[int, ...] = ()

    def choose(self, feeds: Feeds, wanted: Sequence[int] | None) -> None:
        """Take the answer that is wanted, or the likeliest.

        Raises:
            SettingError: There are several numbers and none is said, or it is outside of them.
            CandidateError: The answer is not a finite number.
        """
        import numpy as np

        found = self._numbers(feeds)[0]
        self.shape = found.shape
        likeliest = self._contract.scored.is_classes or self._contract.scored.kind == "several"
        if wanted is None and found.ndim == 1 and likeliest:
            wanted = [int(np.nan_to_num(found, nan=-math.inf).argmax())]
        elif wanted is None and found.size == 1:
            wanted = [0] * found.ndim
        elif wanted is None:
            raise SettingError(
                f"The model gives numbers of shape {found.shape} for an example, and one of them is explained.",
                remedy="say which by answer=, an index, or one for each axis.",
            )
        if len(wanted) != found.ndim or not all(0 <= i < n for i, n in zip(wanted, found.shape, strict=False)):
            at_most = found.shape[0] - 1 if found.ndim == 1 else tuple(n - 1 for n in found.shape)
            raise SettingError(
                f"There is no answer {wanted[0] if len(wanted) == 1 else tuple(wanted)}: the model gives numbers of "
                f"shape {found.shape} for an example.",
                remedy=f"choose one from 0 to {at_most}.",
            )
        self.answer = tuple(wanted)
        self.score = float(found[self.answer])
        if not math.isfinite(self.score):
            raise CandidateError(
                "The answer to this example is not a finite number.", remedy="choose another example or answer."
            )

    def __call__(self, batches: Iterator[Feeds]) -> NDArray[np.float64]:
        """The number for all examples of the batches."""
        import numpy as np

        place: Any = (slice(None), *self.answer)
        found = [self._numbers(feeds)[place] for feeds in batches]
        return np.nan_to_num(np.concatenate(found).astype(np.float64))

    def _numbers(self, feeds: Feeds) -> NDArray[Any]:
        """Confidences of classes, or numbers as they are: shape (examples, …), at least one axis beside the first."""
        import numpy as np

        count = len(next(iter(feeds.values())))
        outputs = [
            self._session.predict({name: array[start : start + self._batch] for name, array in feeds.items()})
            for start in range(0, count, self._batch)
        ]
        self.runs += count
        name, meaning = self._contract.scored.name, self._contract.scored
        scores = read_as(np.concatenate([one[name] for one in outputs]), self._contract)
        if are_classes(meaning, scores.shape):
            found = shares(scores, meaning)
            width = max(self.shape[0] if self.shape else 0, len(self._contract.labels.named), found.shape[1])
            return np.pad(found, ((0, 0), (0, width - found.shape[1])))  # class numbers show those that occur
        return scores if scores.ndim > 1 else scores[:, None]


class _Hiding:
    """All inputs of one example."""

    def __init__(
        self, model: _Answering, feeds: Feeds, background: Feeds, arguments: dict[str, Any], report: Report
    ) -> None:
        self._model = model
        self._feeds = feeds
        self._background = background
        self._arguments = arguments
        self._report = report
        self._layouts = [Layout.from_json(one) for one in arguments["layouts"]]
        self._exact = True
        self.values: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """Inputs for KernelSHAP play together, the others are hidden one by one."""
        method = self._arguments["method"]
        together = [one for one in self._layouts if method[one.input] == "kernel_shap"]
        base, noise = self._shapley(together) if together else (None, None)
        for layout in self._layouts:
            if method[layout.input] == "occlusion":
                (self._patches if layout.kind in PATCHED else self._singles)(layout)
        return {
            "answer": list(self._model.answer), "score": self._model.score, "base": base, "noise": noise,
            "exact": self._exact, "runs": self._model.runs, "shape": list(self._model.shape),
        }  # fmt: skip

    # -- occlusion --------------------------------------------------------------------------------------------------

    def _patches(self, layout: Layout) -> None:
        """Mean loss over the patches that hide a place."""
        import numpy as np

        arguments, name = self._arguments, layout.input
        patch = patch_of(layout.shape, arguments["patch"])
        fill = self._fill(layout)
        for twin in range(arguments["twins"] + 1):
            ways, whole = tilings(layout.shape, patch, arguments["tilings"], arguments["seed"] + twin)
            if twin and whole:
                break
            self._exact &= whole
            found = np.zeros(layout.shape)
            for done, cells in enumerate(ways):
                masks = (cells == number for number in range(int(cells.max()) + 1))
                lost = self._model.score - self._model(self._hidden(layout, masks, fill))
                found += lost[cells] / len(ways)
                self._report(done + 1, len(ways), "ways to cover the example")
            self.values[_key(name, twin)] = found

    def _singles(self, layout: Layout) -> None:
        """Loss when one column, token or word is hidden."""
        import numpy as np

        places = self._places(layout)
        found = np.zeros(layout.shape)
        if len(places):
            masks = np.zeros((len(places), *layout.shape), bool)
            masks[np.arange(len(places)), places] = True
            found[places] = self._model.score - self._model(self._hidden(layout, iter(masks), self._fill(layout)))
        self.values[layout.input] = found

    def _places(self, layout: Layout) -> NDArray[np.int64]:
        """Where there is something to hide: padding is nothing."""
        import numpy as np

        if layout.kind != "tokens":
            return np.arange(layout.shape[0])
        return np.flatnonzero(self._feeds[layout.input][0] != self._arguments["fill"])

    def _hidden(self, layout: Layout, masks: Iterator[NDArray[np.bool_]], fill: Any) -> Iterator[Feeds]:
        import itertools

        import numpy as np

        example = self._feeds[layout.input]
        while chunk := list(itertools.islice(masks, _BATCH)):
            if layout.kind == "text":
                hidden = np.array([_without(example.ravel()[0], mask) for mask in chunk], object)
                hidden = hidden.reshape(len(chunk), *example.shape[1:])
            else:
                mask = np.stack(chunk)
                spread = mask.reshape(
                    len(chunk), *(n if axis in layout.axes else 1 for axis, n in enumerate(example.shape[1:]))
                ) if layout.axes else mask.reshape(len(chunk), *example.shape[1:])  # fmt: skip
                hidden = np.where(spread, fill, example).astype(example.dtype)
            others = {n: np.repeat(a, len(chunk), axis=0) for n, a in self._feeds.items() if n != layout.input}
            yield {n: hidden if n == layout.input else others[n] for n in self._feeds}

    def _fill(self, layout: Layout) -> Any:
        """What takes the place of what is hidden: the mean of the background, or of the example itself."""
        import numpy as np

        if layout.kind == "text":
            return ""
        if layout.kind == "tokens":
            return self._arguments["fill"]
        rows = self._background.get(layout.input, self._feeds[layout.input])
        if rows.dtype.kind in "SUO":
            return ""
        mean = rows.mean(axis=(0, *(axis + 1 for axis in layout.axes)), keepdims=True, dtype=np.float64)
        return np.rint(mean) if rows.dtype.kind in "iu" else mean

    # -- Shapley values ---------------------------------------------------------------------------------------------

    def _shapley(self, layouts: Sequence[Layout]) -> tuple[float, float | None]:
        """Values of all columns together; the mean outcome without any, and the standard error."""
        import numpy as np

        players = [(layout, int(place)) for layout in layouts for place in self._places(layout)]
        game = _Game(self._model, self._feeds, self._background, self._arguments["fill"], players)
        if not players:  # nothing but padding
            return self._model.score, None
        base = float(game(np.zeros((1, len(players)), bool))[0])
        noise, count, seed = None, self._arguments["coalitions"], self._arguments["seed"]
        if len(players) <= EXACT:
            found = [exact(game, len(players))]
        else:
            self._exact = False
            found = [sampled(game, len(players), count, seed + twin) for twin in range(self._arguments["twins"] + 1)]
            if len(found) > 1:
                noise = float(np.sqrt(np.mean(np.var(found, axis=0, ddof=1))))
        for twin, values in enumerate(found):
            for layout in layouts:
                mine = np.zeros(layout.shape)
                for (other, place), value in zip(players, values, strict=True):
                    if other is layout:
                        mine[place] = value
                self.values[_key(layout.input, twin)] = mine
        return base, noise


class _Game:
    """The mean answer over the background, in which the columns of a coalition are those of the example."""

    def __init__(
        self, model: _Answering, feeds: Feeds, background: Feeds, fill: int, players: Sequence[tuple[Layout, int]]
    ) -> None:
        self._model = model
        self._feeds = feeds
        self._background = background
        self._fill = fill
        self._players = players

    def __call__(self, masks: NDArray[np.bool_]) -> NDArray[np.float64]:
        import numpy as np

        rows = {name: self._rows(name, array) for name, array in self._feeds.items()}
        count = len(next(iter(rows.values())))
        at_once = max(1, 4096 // count)
        found = []
        for start in range(0, len(masks), at_once):
            chunk = masks[start : start + at_once]
            batch = {name: np.concatenate([array] * len(chunk)) for name, array in rows.items()}
            for number, (layout, place) in enumerate(self._players):
                shown = np.repeat(chunk[:, number], count)
                flat = batch[layout.input].reshape(len(shown), -1)
                flat[shown, place] = self._feeds[layout.input].reshape(-1)[place]
            found.append(self._model(iter([batch])).reshape(len(chunk), count).mean(axis=1))
        return np.concatenate(found)

    def _rows(self, name: str, example: NDArray[Any]) -> NDArray[Any]:
        """What an input holds where nothing of the example is shown."""
        import numpy as np

        count = max(map(len, self._background.values()), default=1)
        mine = [layout for layout, _ in self._players if layout.input == name]
        if not mine:
            return np.repeat(example, count, axis=0)
        if mine[0].kind == "tokens":
            return np.full((count, *example.shape[1:]), self._fill, example.dtype)
        return np.array(self._background[name])


def _key(name: str, twin: int) -> str:
    """Under which values are stored: the first, or those of other masks."""
    return f"twin {twin}/{name}" if twin else name


def load(path: str) -> dict[str, NDArray[Any]]:
    """Read arrays of the task."""
    import numpy as np

    with np.load(path, allow_pickle=False) as file:
        return with_objects({name: file[name] for name in file.files})


def save(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays for the task."""
    import numpy as np

    np.savez(path, **without_objects(arrays))  # type: ignore[arg-type]  # the stub's allow_pickle hides the arrays


def _without(text: Any, mask: NDArray[np.bool_]) -> Any:
    """A text without some of its words, as bytes where it was bytes."""
    whole, kept, last = as_text(text), [], 0
    for (start, end), hidden in zip(words_of(text), mask.tolist(), strict=True):
        kept.append(whole[last : start if hidden else end])
        last = end
    found = "".join([*kept, whole[last:]])
    return found.encode() if isinstance(text, bytes) else found
