"""How a detector's outputs become boxes: which output holds what, and in what form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from deploykit.core.errors import SettingError, unknown_name
from deploykit.core.serial import Plain

#: How the four numbers of a box are to be read: corners, a corner and the size, or the center and the size.
FORMATS = ("xyxy", "yxyx", "xywh", "cxcywh")
#: ``parts``: boxes, scores and classes are outputs of their own; ``rows``: six numbers a detection; ``heads``: columns
#: of box, scores of classes and perhaps objectness for each anchor, as YOLO models give them.
LAYOUTS = ("parts", "rows", "heads")
ACTIVATIONS = ("none", "sigmoid", "softmax")
Format = Literal["xyxy", "yxyx", "xywh", "cxcywh"]


@dataclass(frozen=True)
class Detection(Plain):
    """How outputs are decoded into detections: corners, score and class of each.

    Attributes:
        layout: One of ``LAYOUTS``.
        format: One of ``FORMATS``.
        boxes: Output that holds the boxes, or all of it.
        scores: Output with a score per box, or one per box and class; "" where ``boxes`` holds them.
        classes: Output with a class per box; "" where scores are given for each class.
        count: Output with the number of boxes that count; "" when all of them do.
        normalized: Whether coordinates are shares of the image; otherwise pixels.
        size: (height, width) in pixels of the images that the model gets.
        first_class: Number that the model gives to class 0.
        background: Column of scores that stands for no object: ``"none"``, ``"first"`` or ``"last"``.
        activation: What turns scores into probabilities, one of ``ACTIVATIONS``.
        objectness: Whether the score of a class is to be multiplied by column 4 (``heads``).
        score_column: Column of the score in ``rows``, 4 or 5; the other one holds the class.
        axis: Axis of the columns of ``heads``, with the batch first: 1 or −1.
        nms: Whether the model suppresses boxes that overlap (``"inside"``), or deploykit does (``"outside"``).
        iou: Overlap above which ``nms`` outside drops the box with the lower score, within a class.
        score: Detections below this score are dropped before.
        most: Detections of an image that are kept.
        why: What this was decided by.
    """

    layout: Literal["parts", "rows", "heads"]
    format: Format
    boxes: str
    scores: str = ""
    classes: str = ""
    count: str = ""
    normalized: bool = True
    size: tuple[int, int] = (1, 1)
    first_class: int = 0
    background: Literal["none", "first", "last"] = "none"
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    objectness: bool = False
    score_column: int = 4
    axis: int = -1
    nms: Literal["inside", "outside"] = "inside"
    iou: float = 0.7
    score: float = 0.001
    most: int = 100
    why: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        """The outputs that are read."""
        return tuple(name for name in (self.boxes, self.scores, self.classes, self.count) if name)

    @property
    def said(self) -> dict[str, Any]:
        """As ``boxes=`` takes it."""
        return {name: getattr(self, name) for name in KEYS}

    def __str__(self) -> str:
        from_ = {
            "parts": f"boxes {self.boxes!r}, scores {self.scores!r}"
            + (f", classes {self.classes!r}" if self.classes else " of each class"),
            "rows": f"rows of {self.boxes!r}",
            "heads": f"{'objectness and ' if self.objectness else ''}scores of each class in {self.boxes!r}",
        }[self.layout]
        unit = "shares of the image" if self.normalized else f"pixels of {self.size[0]} x {self.size[1]}"
        nms = "NMS inside" if self.nms == "inside" else f"NMS here (IoU {self.iou:g}, score {self.score:g})"
        base = f", class numbers from {self.first_class}" if self.first_class else ""
        return f"{from_}; {self.format} in {unit}; {nms}{base}{self.why and f' ({self.why})'}"


#: What ``boxes=`` may say, by field.
KEYS: tuple[str, ...] = tuple(f.name for f in fields(Detection) if f.name not in ("size", "why"))
_CHOICES: dict[str, tuple[Any, ...]] = {
    "layout": LAYOUTS, "format": FORMATS, "activation": ACTIVATIONS, "background": ("none", "first", "last"),
    "nms": ("inside", "outside"), "score_column": (4, 5), "axis": (1, -1), "normalized": (False, True),
    "objectness": (False, True),
}  # fmt: skip
_RANGES = {"iou": (0.0, 1.0), "score": (0.0, 1.0), "most": (1, 10_000), "first_class": (0, 10_000)}


def said(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the user says of a detector's outputs, checked.

    Raises:
        SettingError: Not a dictionary, an unknown name, or a value that it cannot have.
    """
    value: Any = given
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise SettingError(
            f"The option boxes must be a dictionary such as {{'format': 'xyxy'}}, got {value!r}.",
            remedy=f"it may name {', '.join(KEYS)}.",
        )
    for name, one in value.items():
        if name not in KEYS:
            raise unknown_name("setting of boxes", str(name), KEYS)
        if name in _CHOICES and one not in _CHOICES[name]:
            raise unknown_name(f"boxes[{name!r}]", str(one), [str(choice) for choice in _CHOICES[name]])
        if name in _RANGES:
            low, high = _RANGES[name]
            if isinstance(one, bool) or not isinstance(one, int | float) or not low <= one <= high:
                raise SettingError(f"The setting {name} of boxes must be a number from {low} to {high}, got {one!r}.")
    return dict(value)
