"""F1 of entities in tagged tokens."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Self

from deploykit.core.contract import CLASSES
from deploykit.metrics._by_class import Counted
from deploykit.metrics._entities import are_tags, entities, kind_of
from deploykit.metrics._positions import answers_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


class TokenF1(Counted):
    """F1 of whole entities: kind, first and last token must be right (micro average, as seqeval has it).

    Tokens without a label (negative: padding, parts of words) are left out of answers as well.
    """

    name = "token_f1"
    label = "entity F1"
    help = "F1 of whole entities in tags such as B-PER, I-PER and O, which the class names must be."
    kinds = CLASSES
    priority = 4
    why = "the class names are tags of entities, and tokens outside of any would dominate the share of right ones"
    reference = "seqeval.metrics.f1_score"
    beside = True
    micro = True
    names: tuple[str, ...] = ()

    def for_classes(self, names: tuple[str, ...]) -> Self:
        """Reads classes as these tags."""
        other = copy.copy(self)
        other.names = names
        return other

    @property
    def classes(self) -> tuple[str, ...]:
        """The kinds of entities, in the order of `counts`."""
        return tuple(sorted({kind_of(n) for n in self.names if n != "O"}))

    def class_name(self, index: int, names: tuple[str, ...]) -> str:
        """The kind of entity."""
        del names
        return self.classes[index]

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs one tag for each token, and class names that are tags."""
        if truth is None:
            return "needs labels"
        if truth.dtype.kind not in "iu" or truth.ndim != 2:
            return "needs one class for each token"
        found = outputs.shape if outputs.dtype.kind in "iu" else outputs.shape[:-1]
        if found != truth.shape:
            return f"labels have shape {truth.shape[1:]}, answers {found[1:]}"
        if not are_tags(self.names):
            shown = f"they are {', '.join(self.names[:4])}" if self.names else "there are none"
            return f"needs class names such as O, B-PER and I-PER (classes=); {shown}"
        if truth.max(initial=0) >= len(self.names):
            return f"labels go up to class {int(truth.max())}, {len(self.names)} names are given"
        outside = [i for i, name in enumerate(self.names) if name == "O"]
        return "" if ((truth >= 0) & (truth != (outside or [-1])[0])).any() else "is undefined: no label is an entity"

    def counts(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[Any]:
        """Entities that are found, answered and labeled, by kind."""
        import numpy as np

        kinds = {kind: place for place, kind in enumerate(self.classes)}
        counted = np.zeros((len(outputs), 3, len(kinds)))
        answers = answers_of(outputs)
        for row, there in enumerate(truth >= 0):
            found, wanted = (entities(self._tags(one[row, there].tolist())) for one in (answers, truth))
            for place, group in enumerate((found & wanted, found, wanted)):
                for kind, _, _ in group:
                    counted[row, place, kinds[kind]] += 1
        return counted

    def _tags(self, classes: list[int]) -> list[str]:
        return [self.names[c] if 0 <= c < len(self.names) else "O" for c in classes]


ADAPTER = TokenF1()
