"""What the inputs, labels and outputs of a model are taken to mean: one object, said before the work and kept with it.

`deploykit.data.fitting` decides what names, shapes and dtypes can tell; `deploykit.data.meaning` what outputs and
labels are. What was seen when the original model was run on some examples settles the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from deploykit.core.decoder import Decoder
from deploykit.core.detection import Detection
from deploykit.core.detection import said as said_of_boxes
from deploykit.core.digest import json_digest
from deploykit.core.errors import SettingError, unknown_name
from deploykit.core.serial import RARE, Plain

#: Kinds of outputs. ``scores``: one per class, the highest is the answer; ``probabilities``: scores that sum to 1;
#: ``logit`` and ``probability``: one number for two classes, class 1 above 0 and above one half; ``several``:
#: a probability for each of several labels; ``classes``: class numbers (or names, where the output is text);
#: ``values``: real numbers; ``embedding``: a vector whose direction counts; ``boxes``: what a detector finds;
#: ``text``: text, or what scores of a vocabulary (the class names) at each step, or token numbers, decode to.
Kind = Literal[
    "scores", "probabilities", "logit", "probability", "several", "classes", "values", "embedding", "boxes", "text",
]  # fmt: skip
KINDS: tuple[Kind, ...] = (
    "scores", "probabilities", "logit", "probability", "several", "classes", "values", "embedding", "boxes", "text",
)  # fmt: skip
#: Where the classes of scores for each position are, when the shape leaves two ways: axis after the batch's has moved
#: to the front. The kind is found out as without them.
AXES: dict[str, int] = {"channels_first": 1, "channels_last": -1}
#: Kinds whose answer is a class.
CLASSES: frozenset[str] = frozenset({"scores", "probabilities", "logit", "probability", "classes"})
#: How labels are given, or that there are none.
Labels = Literal["classes", "several", "positions", "values", "boxes", "text", "none"]

#: Largest error of an output that is not scored, relative to its spread, and smallest agreement of its answers.
MAX_OUTPUT_ERROR = 0.1
MIN_AGREEMENT = 0.9


@dataclass(frozen=True)
class Declared(Plain):
    """What the user says of a model's signature; what is left out is found out.

    Attributes:
        output: Name of the output that is scored; "" for the first one that the labels fit.
        scores: Its kind, one of `KINDS`; ``"auto"`` decides by operators, shapes, ranges and names, and so do
            ``"channels_first"`` and ``"channels_last"``, which say what axis the classes of positions are on.
        state: Output → input that it feeds at the next step, for models that keep a state.
        constants: Input → the value it gets whatever the example.
        boxes: How a detector's outputs are to be decoded: fields of `deploykit.core.detection.Detection`.
        generate: Tokens that a decoder writes after each example; 0: it reads examples only.
    """

    output: str = ""
    scores: str = "auto"
    state: dict[str, str] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)
    boxes: dict[str, Any] = field(default_factory=dict)
    generate: int = field(default=0, metadata={RARE: True})

    @property
    def kind(self) -> str:
        """The kind that is said, "auto" when it is not."""
        if self.boxes and self.scores == "auto":
            return "boxes"
        return "auto" if self.scores in AXES else self.scores

    @property
    def class_axis(self) -> int:
        """The axis of classes that is said, 0 when it is not."""
        return AXES.get(self.scores, 0)

    @classmethod
    def of(
        cls,
        output: str | None = None,
        scores: str | None = None,
        state: Mapping[str, str] | None = None,
        constants: Mapping[str, Any] | None = None,
        boxes: Mapping[str, Any] | None = None,
        generate: int | None = None,
    ) -> Self:
        """From the arguments of public functions, checked.

        Raises:
            SettingError: An unknown kind, a state or constants that are not dictionaries of names, or something
                unknown that is said of boxes.
        """
        import numpy as np

        if scores not in (None, "auto", *KINDS, *AXES):
            raise unknown_name("kind of scores", scores, ["auto", *KINDS, *AXES])
        for name, value in (("state", state), ("constants", constants)):
            given: Any = value
            if given is not None and not (isinstance(given, Mapping) and all(isinstance(k, str) for k in given)):
                raise SettingError(f"{name} must be a dictionary by name, got {value!r}.")
        plain = {k: np.asarray(v).tolist() for k, v in (constants or {}).items()}
        steps = {k: str(v) for k, v in (state or {}).items()}
        return cls(output or "", scores or "auto", steps, plain, said_of_boxes(boxes), generate or 0)


@dataclass(frozen=True)
class InputMeaning(Plain):
    """One input of the model.

    Attributes:
        name: Name in the model's signature.
        source: Name of the array of the data that feeds it; "" for a constant and a state.
        how: ``"name"``: names are equal; ``"only"``: one array and one input; ``"form"``: no other array has its
            shape and dtype; ``"tokens"``: a tokenizer makes it of the text in that array; ``"constant"``; ``"state"``;
            ``"cache"``: a state that grows with each token; ``"derived"``: from a decoder's tokens and its cache.
        dtype: What the model takes.
        given: Dtype of the data after preprocessing.
        shape: Shape the model takes, batch included; None for free dimensions, None as a whole when it is not known.
        batch_axis: Axis of the batch.
        raw: Whether the data are the model's own quantized integers.
        scale: Quantization of the model's input, 0 when it is not quantized.
        steps: What preprocessing does, in words; "" for nothing.
    """

    name: str
    source: str
    how: Literal["name", "only", "form", "tokens", "constant", "state", "cache", "derived"]
    dtype: str
    given: str = ""
    shape: tuple[int | None, ...] | None = None
    batch_axis: int = 0
    raw: bool = False
    scale: float = 0.0
    steps: str = ""

    @property
    def asked(self) -> str:
        """Name of the raw input that examples give for it: its own, or that of the text it is made of."""
        return self.source if self.how == "tokens" else self.name

    @property
    def is_asked(self) -> bool:
        """Whether examples must give it."""
        return self.how not in ("constant", "state", "cache", "derived")

    @property
    def is_carried(self) -> bool:
        """Whether an output of the last step feeds it."""
        return self.how in ("state", "cache")

    def __str__(self) -> str:
        dims = "any shape" if self.shape is None else " × ".join("?" if d is None else str(d) for d in self.shape)
        fed = {
            "constant": "a constant", "state": "the model's state, initially zero", "name": f"array {self.source!r}",
            "only": f"array {self.source!r}, the only one", "form": f"array {self.source!r}, the only one of its form",
            "tokens": f"the tokens of {self.source!r}", "cache": "the cache of earlier tokens, initially empty",
            "derived": "the tokens and the cache",
        }[self.how]  # fmt: skip
        axis = f", batch on axis {self.batch_axis}" if self.batch_axis else ""
        kept = "" if self.given in ("", self.dtype) else f", {self.given} data"
        quantized = (
            "" if not self.scale else ", read as the model's own integers" if self.raw else ", quantized by deploykit"
        )
        return f"{self.name}: {self.dtype} ({dims}{axis}) from {fed}{kept}{quantized}{self.steps and f'; {self.steps}'}"


@dataclass(frozen=True)
class OutputMeaning(Plain):
    """One output of the model.

    Attributes:
        name: Name in the model's signature.
        kind: What its numbers are.
        role: ``"scored"``: what the metric is about; ``"judged"``: compared with the original's; ``"state"``;
            ``"part"``: read together with the scored output, as a detector's scores with its boxes.
        dtype: What the model gives.
        shape: Its shape, batch included, as in `InputMeaning`.
        batch_axis: Axis of the batch.
        class_axis: Axis of the classes after the batch has been moved to the front; -1 for the last one.
        why: What the kind was decided by.
        threshold: Above which a label of several is there.
        fixed: Whether the file gives the same whatever the examples, without a row for each (a detector's anchors):
            every example gets it.
    """

    name: str
    kind: Kind
    role: Literal["scored", "judged", "state", "part"]
    dtype: str
    shape: tuple[int | None, ...] | None = None
    batch_axis: int = 0
    class_axis: int = -1
    why: str = ""
    threshold: float = 0.5
    fixed: bool = False

    @property
    def is_classes(self) -> bool:
        """Whether its answer is a class."""
        return self.kind in CLASSES

    def __str__(self) -> str:
        dims = "any shape" if self.shape is None else " × ".join("?" if d is None else str(d) for d in self.shape)
        words = {
            "scores": "scores of classes", "probabilities": "probabilities of classes", "values": "real values",
            "logit": "one logit: class 1 above 0", "probability": "one probability: class 1 above 0.5",
            "several": "probabilities of several labels", "classes": "class numbers", "embedding": "an embedding",
            "boxes": "boxes",
            "text": "text",
        }[self.kind]  # fmt: skip
        words = "class names" if self.kind == "classes" and self.dtype == "string" else words
        role = {
            "scored": "scored as ", "judged": "compared with the original's, ", "state": "carried on, ",
            "part": "read with the boxes: ",
        }[self.role]  # fmt: skip
        axis = f", batch on axis {self.batch_axis}" if self.batch_axis else ""
        if self.fixed:
            return f"{self.name}: {self.dtype} ({dims}), the same for every example, {role}{words}"
        return f"{self.name}: {self.dtype} ({dims}{axis}), {role}{words}{self.why and f' ({self.why})'}"


@dataclass(frozen=True)
class LabelMeaning(Plain):
    """The labels.

    Attributes:
        kind: What they are.
        classes: How many classes the labels hold, 0 when they are not classes.
        named: Class names by index, empty when unknown; the vocabulary of an output that is decoded to text.
        how: How they were given: ``"class numbers"``, ``"class names"``, ``"one-hot"``, …
        notes: What is odd about them: gaps, classes the model lacks.
    """

    kind: Labels = "none"
    classes: int = 0
    named: tuple[str, ...] = ()
    how: str = ""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.kind == "none":
            return "none: candidates are compared with the original's answers"
        words = {
            "classes": f"one of {self.classes} classes per example", "several": "several labels per example",
            "positions": f"one of {self.classes} classes per position", "values": "real values",
            "boxes": f"boxes of {self.classes} classes",
            "text": "one text per example",
        }[self.kind]  # fmt: skip
        return f"{words}{f', given as {self.how}' if self.how else ''}"


@dataclass(frozen=True)
class Contract(Plain):
    """How a sweep interprets inputs, labels and outputs.

    Attributes:
        inputs: Every input of the model, in its order.
        outputs: Every output, in its order.
        labels: The labels.
        state: Output → input that it feeds at the next step.
        constants: Input → value.
        sequences: Whether examples are sequences of steps (axis 1) with a state that is carried along.
        observed: Whether the original model was run on examples; if not, kinds are based on the file alone.
        batch_dependent: Whether an example's answer depends on the others in its batch, for the original model.
        notes: Decisions that may surprise, one sentence each.
        detection: How the outputs of a detector are decoded; None for other models, and until it is known.
        padding_dependent: Whether a text's answer depends on how far its tokens are filled up, for the original model.
        decoder: How a decoder with a cache is called from token to token; None for other models.

    Example:
        >>> contract = dk.examine(model, data).contract
        >>> contract.scored.name, contract.input("image").shape
        ('class', (None, 28, 28, 1))
    """

    inputs: tuple[InputMeaning, ...]
    outputs: tuple[OutputMeaning, ...]
    labels: LabelMeaning = LabelMeaning()
    state: dict[str, str] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)
    sequences: bool = False
    observed: bool = False
    batch_dependent: bool = False
    notes: tuple[str, ...] = ()
    detection: Detection | None = None
    padding_dependent: bool = field(default=False, metadata={RARE: True})
    decoder: Decoder | None = field(default=None, metadata={RARE: True})

    @property
    def scored(self) -> OutputMeaning:
        """The output that the metric scores."""
        return next(o for o in self.outputs if o.role == "scored")

    @property
    def judged(self) -> tuple[OutputMeaning, ...]:
        """Outputs other than the scored one that are compared with the original's, except single numbers per batch."""
        return tuple(o for o in self.outputs if o.role == "judged" and o.shape != ())

    @property
    def feeding(self) -> str:
        """Digest of the part that decides how examples reach the model."""
        parts = [[i.name, bool(i.source), i.batch_axis, i.raw] for i in self.inputs]
        more = [] if self.decoder is None else [self.decoder.to_json()]
        return json_digest([parts, self.state, self.constants, self.sequences, *more])

    @property
    def reading(self) -> str:
        """Digest of the part that decides how its answers are interpreted."""
        parts = [[o.name, o.kind, o.role, o.class_axis, *([True] if o.fixed else [])] for o in self.outputs]
        return json_digest(parts if self.detection is None else [parts, self.detection.said, self.detection.size])

    @property
    def asked(self) -> tuple[str, ...]:
        """Names of the raw inputs that every example has: one text for all that a tokenizer makes of it."""
        needed = (i.asked for i in self.inputs if i.is_asked)
        return tuple(dict.fromkeys(needed))

    def input(self, name: str) -> InputMeaning:
        """The input called ``name``, or the first that a tokenizer feeds from the text called so."""
        return next((i for i in self.inputs if i.name == name), None) or next(i for i in self.inputs if i.asked == name)

    @property
    def _pairs(self) -> str:
        """Which outputs feed which inputs at the next step, the first two of them."""
        pairs = [f"{made} → {fed}" for made, fed in self.state.items()]
        return ", ".join(pairs[:2]) + (", …" if len(pairs) > 2 else "")

    @property
    def lines(self) -> list[tuple[str, str]]:
        """The contract as pairs of a heading and a sentence."""
        found = [("input", str(i)) for i in self.inputs if i.how != "cache"]
        found += [("output", str(o)) for o in self.outputs if self.decoder is None or o.role != "state"]
        if self.detection is not None:
            found.append(("boxes", str(self.detection)))
        if self.decoder is not None:
            found.append(("decoder", f"{self.decoder} ({self._pairs})"))
        found.append(("labels", str(self.labels)))
        if self.sequences:
            found.append(("state", "examples are sequences; each starts with fresh state"))
        elif self.state and self.decoder is None:
            found.append(("state", "every example starts with fresh state"))
        if self.batch_dependent:
            found.append(("batch", "answers depend on the batch: quality is measured at the target's batch size"))
        if self.padding_dependent:
            found.append(("padding", "answers depend on how far texts are padded: give them one length everywhere"))
        elif self.observed and any(i.how == "tokens" for i in self.inputs):
            found.append(("padding", "answers do not depend on how far texts are padded"))
        found += [("note", text) for text in (*self.labels.notes, *self.notes)]
        return found

    def __str__(self) -> str:
        return "\n".join(f"{heading:<8}{text}" for heading, text in self.lines)

    def _repr_html_(self) -> str:
        from deploykit.core import tables

        return tables.card("Contract", "what inputs, labels and outputs are taken to mean", tables.table(
            ("what", "is taken as"), self.lines
        ))  # fmt: skip
