"""The boxes that a detector's answer says, for those who ask a server."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from deploykit.core.contract import Contract
from deploykit.core.errors import DatasetError, SettingError
from deploykit.core.serial import Plain
from deploykit.data.preprocess import Preprocess
from deploykit.data.resize import placed
from deploykit.measuring.boxes.decoding import decoded

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class DetectedBox(Plain):
    """What a detector has found in an image.

    Attributes:
        label: Name of the class; its number where the names are not known.
        score: From 0 to 1.
        left: Left edge as a share of the image that the model got, as are the others.
        top: Upper edge.
        right: Right edge.
        bottom: Lower edge.

    Example:
        >>> box = dk.DetectedBox("bag", 0.9, left=0.25, top=0.5, right=0.75, bottom=1.0)
        >>> box.right - box.left
        0.5
    """

    label: str
    score: float
    left: float
    top: float
    right: float
    bottom: float


@runtime_checkable
class Exported(Protocol):
    """An artifact: its manifest has the contract and the names of the classes."""

    manifest: Any


@runtime_checkable
class Contracted(Protocol):
    """A report, or what examined a model."""

    contract: Contract


def detections(
    outputs: Mapping[str, Any] | NDArray[Any],
    source: Any,
    *,
    min_score: float = 0.3,
    sizes: Sequence[tuple[int, int]] | None = None,
) -> list[list[DetectedBox]]:
    """The boxes in a detector's raw outputs, as a sweep has read them: corners, classes, suppression and all.

    Args:
        outputs: What the model or a server has answered: arrays by output name, batch first; the array alone where
            there is one output.
        source: What knows how they are to be read: an artifact (``server.artifact`` as well), a report, or the result
            of ``dk.examine``.
        min_score: Boxes with a lower score are left out.
        sizes: (height, width) of each image as it was sent, where the server fits images between gray bars: boxes are
            then shares of these images. None: shares of the image that the model got, bars included.

    Returns:
        For each image its boxes, the surest first.

    Raises:
        SettingError: ``source`` knows no contract, the score is not between 0 and 1, there are more or fewer sizes than
            images, or sizes are given and ``source`` is not an artifact.
        DatasetError: The model is not a detector, an output is missing, or the outputs hold NaN.

    Example:
        >>> import numpy as np
        >>> from deploykit.types import Detection, OutputMeaning
        >>> output = OutputMeaning("found", "boxes", "scored", "float32")
        >>> contract = dk.Contract((), (output,), detection=Detection("rows", "xyxy", "found"))
        >>> answer = {"found": np.array([[[0.1, 0.2, 0.5, 0.9, 0.8, 2], [0.3, 0.3, 0.4, 0.4, 0.1, 0]]])}
        >>> [(box.label, round(box.score, 2)) for box in dk.detections(answer, contract)[0]]
        [('2', 0.8)]
    """
    import numpy as np

    contract, names = _known(source)
    if not 0 <= min_score <= 1:
        raise SettingError(f"The argument min_score must be between 0 and 1, got {min_score!r}.")
    detection = contract.detection
    if detection is None:
        raise DatasetError(
            f"The model is not a detector: its output {contract.scored.name!r} holds {contract.scored.kind}.",
            remedy="declare how boxes are held with boxes= (--boxes) when you sweep it.",
        )
    given = outputs if isinstance(outputs, Mapping) else {contract.scored.name: outputs}
    parts = (detection.boxes, detection.scores, detection.classes, detection.count)
    if missing := [name for name in parts if name and name not in given]:
        raise DatasetError(
            f"The boxes are read from {', '.join(filter(None, parts))}; missing: {', '.join(missing)}.",
            remedy="give all of the model's outputs by name.",
        )
    rows = decoded({name: np.asarray(given[name]) for name in parts if name}, detection)
    images = rows.astype(float).tolist()
    found = [[_box(row, names) for row in _kept(image, min_score)] for image in images]
    if sizes is None:
        return found
    if len(sizes) != len(found):
        raise SettingError(f"The argument sizes must have one size for each of {len(found)} images, got {len(sizes)}.")
    if not isinstance(source, Exported):
        raise SettingError(
            f"The argument sizes needs to know how a server fits images; got {type(source).__name__}.",
            remedy="pass the artifact: server.artifact, or dk.Artifact.open(path).",
        )
    step = next((step for step in source.manifest.preprocess.values() if step.fit == "letterbox"), None)
    return [[_without_bars(box, size, step) for box in boxes] for boxes, size in zip(found, sizes, strict=True)]


def _without_bars(box: DetectedBox, given: tuple[int, int], step: Preprocess | None) -> DetectedBox:
    """A box as shares of the picture between the bars, cut at its edges; None: there are no bars."""
    if step is None or step.resize is None:
        return box
    (height, width), place = step.resize, placed((int(given[0]), int(given[1])), step.resize, step.fit)

    def across(share: float) -> float:
        return min(1.0, max(0.0, (share * width - place.left) / place.width))

    def down(share: float) -> float:
        return min(1.0, max(0.0, (share * height - place.top) / place.height))

    return replace(box, left=across(box.left), right=across(box.right), top=down(box.top), bottom=down(box.bottom))


def _known(source: Any) -> tuple[Contract, Sequence[str]]:
    if isinstance(source, Exported):
        contract = source.manifest.contract
        return contract, source.manifest.classes or contract.labels.named
    contract = source if isinstance(source, Contract) else source.contract if isinstance(source, Contracted) else None
    if not isinstance(contract, Contract):
        raise SettingError(
            f"Expected an artifact, a report or an examined model, got {type(source).__name__}.",
            remedy="pass server.artifact, dk.Artifact.open(path) or a report.",
        )
    return contract, contract.labels.named


def _kept(image: list[list[float]], min_score: float) -> list[list[float]]:
    if any(math.isnan(value) for row in image for value in row):
        raise DatasetError("The outputs hold NaN for an image.", remedy="check its pixels and their scale.")
    return [row for row in image if row[5] >= 0 and row[4] >= min_score]


def _box(row: list[float], names: Sequence[str]) -> DetectedBox:
    left, top, right, bottom, score, kind = row
    label = names[int(kind)] if int(kind) < len(names) else str(int(kind))
    return DetectedBox(label, score, left, top, right, bottom)
