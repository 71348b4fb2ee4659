"""How long to train and on what: the same examples in the same order, whichever trainer takes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.data.dataset import Dataset
from deploykit.data.splits import dealt, shuffled
from deploykit.training.choices import NO_CHANGE, NOISE_SNR_DB

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Learning rate of the last step, as a share of the highest one.
_LAST_RATE = 0.02
#: Share of the steps in which the rate rises: Adam's first ones move each weight by all of it, whatever the slope.
_RISING = 0.05


def raised(number: int, rounds: int) -> float:
    """Share of the sparsity in the end that there is in a round, the first one being 1.

    Source: Zhu and Gupta 2017, https://arxiv.org/abs/1710.01878; TF-MOT's ``PolynomialDecay`` has the same values.
    """
    return 1.0 - (1.0 - number / rounds) ** 3


@dataclass(frozen=True)
class Schedule:
    """How long to train and on what.

    Attributes:
        examples: Indices into the training split.
        batch_size: Examples a step.
        epochs: Passes over the examples.
        learning_rate: The highest one: it rises over the first steps, then decays along a cosine.
        seed: Of the order of the examples and of dropout.
        held_out: Indices into the training split that are not trained on: they show when to stop.
        augment: How the inputs are changed at each step, one of `deploykit.training.choices.AUGMENTATIONS`.
        noise_snr: Decibels between waveforms and the noise that is added to them.
    """

    examples: NDArray[np.int64]
    batch_size: int
    epochs: int
    learning_rate: float
    seed: int
    held_out: NDArray[np.int64] | None = None
    augment: str = NO_CHANGE
    noise_snr: float = NOISE_SNR_DB

    @classmethod
    def of(
        cls, data: Dataset, *, examples: int, batch_size: int, epochs: int, learning_rate: float, seed: int,
        held_out: float = 0.0, augment: str = NO_CHANGE, noise_snr: float = NOISE_SNR_DB,
    ) -> Schedule:  # fmt: skip
        """A schedule on the training split: evaluation and test examples are never trained on.

        Args:
            data: The data.
            examples: Training examples to take, in proportion to the classes; 0 takes all.
            batch_size: Examples a step; fewer where there are not that many.
            epochs: Passes over the examples.
            learning_rate: The highest one.
            seed: Of the choice and the order of the examples.
            held_out: Share of the examples that are not trained on.
            augment: How the inputs are changed at each step.
            noise_snr: Decibels between waveforms and the noise that is added to them.
        """
        train = data.splits["train"]
        order = shuffled(len(train), train.labels, seed)
        chosen = order[: examples or len(order)]
        apart = round(held_out * len(chosen))
        held, kept = chosen[:apart], chosen[apart:]
        if apart and train.groups is not None:
            labels = None if train.labels is None else train.labels[chosen]
            parts = dealt(len(chosen), labels, seed, (held_out, 1 - held_out), train.groups[chosen])
            held, kept = (chosen[part] for part in parts)
        size = min(batch_size, len(kept))
        return cls(kept, size, epochs, learning_rate, seed, held if len(held) else None, augment, noise_snr)

    @property
    def changes(self) -> bool:
        """Whether inputs are changed at each step."""
        return self.augment != NO_CHANGE

    @property
    def steps_per_epoch(self) -> int:
        """Full batches a pass; a smaller last one would be retraced, which takes longer than it teaches."""
        return max(1, len(self.examples) // self.batch_size)

    @property
    def steps(self) -> int:
        """All steps."""
        return self.steps_per_epoch * self.epochs

    def cosine(self) -> dict[str, Any]:
        """Arguments of a ``CosineDecay`` of the learning rate, the same in Keras 3 and tf-keras."""
        rising = round(_RISING * self.steps)
        return {
            "initial_learning_rate": self.learning_rate / (rising + 1), "warmup_target": self.learning_rate,
            "warmup_steps": rising, "decay_steps": max(1, self.steps - rising), "alpha": _LAST_RATE,
        }  # fmt: skip

    def batches(self) -> Iterator[NDArray[np.int64]]:
        """Indices of the examples of each step, sorted, since memory maps are read fastest in order; does not end."""
        import numpy as np

        rng = np.random.default_rng(self.seed)
        while True:
            order = rng.permutation(self.examples)
            for step in range(self.steps_per_epoch):
                yield np.sort(order[step * self.batch_size : (step + 1) * self.batch_size])

    def parts(self, index: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Examples in batches, sorted; what does not fill the last one is left out, but for a single batch."""
        import numpy as np

        size = min(self.batch_size, len(index))
        return [np.sort(index[start : start + size]) for start in range(0, len(index) - size + 1, size)]
