"""How many answers stay right when inputs are changed on purpose, by little: in a child that runs a candidate.

Two attacks, each bounded by the largest change of any number (L∞). *Transferred*: examples that were made against the
original by its gradients (`deploykit.training.attacks`), which no candidate has. *Square*: the candidate itself is
asked again and again with squares changed at random, which needs no gradients. Neither alone is enough: rounding hides
gradients, so that int8 looks robust to attacks that climb along answers, and changed weights weaken what was made
against others. An example counts as right when it is under both.

Source: Andriushchenko et al., "Square Attack: a query-efficient black-box adversarial attack via random search" (ECCV
2020, https://arxiv.org/abs/1912.00049); the schedule of sizes is that of its code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.candidate import Target
from deploykit.core.contract import Contract
from deploykit.core.errors import DatasetError
from deploykit.core.serial import Plain
from deploykit.data.dataset import Dataset
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sandbox.task import Report

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Questions of the Square attack for each example.
QUERIES = 200
_CHANNELS = (1, 3, 4)
#: Share of an image that the first squares have, and after which of 10,000 steps it is halved.
_SHARE, _HALVED = 0.8, (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


@dataclass(frozen=True)
class Attacked(Plain):
    """Which answers were right, one for each example that was attacked.

    Attributes:
        clean: Of examples as they are.
        transferred: Of those made against the original; empty if it has no gradients here.
        square: After the Square attack.
    """

    clean: tuple[bool, ...]
    transferred: tuple[bool, ...]
    square: tuple[bool, ...]

    @property
    def both(self) -> tuple[bool, ...]:
        """After the worse of both attacks."""
        if not self.transferred:
            return self.square
        return tuple(a and b for a, b in zip(self.transferred, self.square, strict=True))


@dataclass(frozen=True)
class Aim:
    """What is attacked.

    Attributes:
        name: The input.
        examples: Examples as the model takes them, batch first.
        labels: Their classes.
        low: Smallest value of an input.
        high: Largest value.
        epsilon: Largest change of a value.
    """

    name: str
    examples: NDArray[Any]
    labels: NDArray[Any]
    low: float
    high: float
    epsilon: float

    @classmethod
    def of(cls, data: Dataset, contract: Contract, count: int, strength: float, seed: int) -> Aim:
        """Examples of the evaluation split, drawn by the seed.

        Args:
            data: The data.
            contract: What inputs, labels and outputs mean.
            count: How many examples.
            strength: Largest change of a value, as a share of the range of all values.
            seed: Of the choice.

        Raises:
            DatasetError: The model is not a classifier with one input of real numbers, or there are no labels.
        """
        import numpy as np

        labels, split = data.labels("evaluation"), data.splits["evaluation"]
        index = places(len(split), count, seed)
        needed = [one.name for one in contract.inputs if one.is_asked]
        found = data.batch("evaluation", index)
        array = found[needed[0]] if len(needed) == 1 and needed[0] in found else np.zeros(0, "O")
        scored = contract.scored
        scores = scored.kind in ("scores", "probabilities") and scored.shape is not None and len(scored.shape) == 2
        if array.dtype.kind != "f" or not scores or labels is None or contract.labels.kind != "classes":
            raise DatasetError(
                "Attacks are for classifiers with one input of real numbers, on labeled data; this model has the "
                f"{'input' if len(needed) == 1 else 'inputs'} {', '.join(needed)} and the output {scored}.",
                remedy="leave out attacks= (--attacks) for this model.",
            )
        low, high = float(array.min()), float(array.max())
        return cls(needed[0], array, labels[index].astype(np.int64), low, high, strength * (high - low))


def places(examples: int, count: int, seed: int) -> NDArray[np.int64]:
    """Which of so many examples are attacked, in their order."""
    import numpy as np

    return np.sort(np.random.default_rng(seed).permutation(examples)[:count])


def attack(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: attack a candidate.

    Args:
        arguments: ``path format target data``; ``contract``: plain `Contract`; ``count strength seed`` of `Aim.of`;
            ``transferred``: ``.npy`` file of the examples made against the original, "" for none.
        report: Progress in questions.

    Returns:
        ``attacked``: plain `Attacked`.
    """
    import numpy as np

    target, contract = Target.from_json(arguments["target"]), Contract.from_json(arguments["contract"])
    data = Dataset.open(Path(arguments["data"]))
    aim = Aim.of(data, contract, arguments["count"], arguments["strength"], arguments["seed"])
    session = RUNTIMES.get(target.runtime).open(Path(arguments["path"]), target, arguments["format"], contract)

    def margins(examples: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
        return margin(session.predict({aim.name: examples})[contract.scored.name], labels)

    clean = margins(aim.examples, aim.labels) > 0
    transferred: tuple[bool, ...] = ()
    if arguments["transferred"]:
        made = np.load(arguments["transferred"], allow_pickle=False)
        transferred = tuple((margins(made, aim.labels) > 0).tolist())
    square = square_attack(margins, aim, QUERIES, arguments["seed"], report)
    session.close()
    return {"attacked": Attacked(tuple(clean.tolist()), transferred, tuple(square.tolist())).to_json()}


def margin(scores: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
    """By how much the label's score is above the best other one: not above 0 when the answer is wrong."""
    import numpy as np

    rows = np.arange(len(labels))
    others = np.array(scores, np.float64)
    own = others[rows, labels]
    others[rows, labels] = -np.inf
    found: NDArray[np.float64] = np.nan_to_num(own - others.max(1), nan=-1.0)
    return found


def square_attack(
    margins: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]], aim: Aim, queries: int, seed: int, report: Report
) -> NDArray[np.bool_]:
    """Which examples are still answered right.

    Args:
        margins: Gives `margin` of some examples and their labels.
        aim: What is attacked.
        queries: Questions for each example, the first one included.
        seed: Where chance begins: each example has a stream of its own, so that others change nothing for it.
        report: Progress in questions.
    """
    import numpy as np

    images, back = _as_images(aim.examples)
    count, height, width, channels = images.shape
    streams = [np.random.default_rng([seed, number]) for number in range(count)]

    def within(changed: NDArray[Any], which: NDArray[Any]) -> NDArray[Any]:
        near = np.clip(changed, images[which] - aim.epsilon, images[which] + aim.epsilon)
        kept: NDArray[Any] = np.clip(near, aim.low, aim.high).astype(images.dtype)
        return kept

    everything = np.arange(count)
    stripes = np.stack([s.choice([-1.0, 1.0], (1, width, channels)) for s in streams])
    best = margins(back(images), aim.labels)
    now = images.copy()
    left = everything[best > 0]
    for step in range(queries):
        if not len(left):
            break
        if step % 20 == 0:
            report(step, queries, "questions")
        if step == 0:
            tried = within(images[left] + aim.epsilon * stripes[left], left)
        else:
            side = _side(step, queries, height, width)
            tried = now[left].copy()
            for place, number in enumerate(left):
                stream = streams[number]
                top, start = stream.integers(0, height - side[0] + 1), stream.integers(0, width - side[1] + 1)
                signs = stream.choice([-1.0, 1.0], (1, 1, channels))
                part = np.s_[top : top + side[0], start : start + side[1]]
                tried[place][part] = images[number][part] + aim.epsilon * signs
            tried = within(tried, left)
        found = margins(back(tried), aim.labels[left])
        better = found < best[left]
        now[left[better]], best[left[better]] = tried[better], found[better]
        left = left[best[left] > 0]
    right: NDArray[np.bool_] = best > 0
    return right


def _side(step: int, steps: int, height: int, width: int) -> tuple[int, int]:
    """Height and width of a square; a row of numbers is cut in its only direction."""
    share = _SHARE / 2 ** sum(10000 * step / steps > limit for limit in _HALVED)
    if height == 1:
        return 1, min(width, max(1, round(share * width)))
    side = max(1, round((share * height * width) ** 0.5))
    return min(height, side), min(width, side)


def _as_images(array: NDArray[Any]) -> tuple[NDArray[Any], Callable[[NDArray[Any]], NDArray[Any]]]:
    """Examples of shape (count, height, width, channels), and the way back; others are a row of numbers."""
    import numpy as np

    shape = array.shape[1:]
    if len(shape) == 3 and shape[2] in _CHANNELS:
        return array, lambda images: images
    if len(shape) == 3 and shape[0] in _CHANNELS:
        return np.moveaxis(array, 1, 3), lambda images: np.ascontiguousarray(np.moveaxis(images, 3, 1))
    if len(shape) == 2:
        return array[..., None], lambda images: images[..., 0]
    flat = array.reshape(len(array), 1, -1, 1)
    return flat, lambda images: images.reshape(len(images), *shape)
