"""What form a detector's outputs have: by names, shapes and ranges, and by the labels where these leave two ways.

Whatever stays open is asked for. The outputs are those of the original model on some examples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import Contract
from deploykit.core.detection import FORMATS, Detection
from deploykit.core.errors import DatasetError, UnsupportedModelError, unknown_name
from deploykit.core.model import plain_name
from deploykit.data.axes import channel_order
from deploykit.measuring.boxes.decoding import decoded
from deploykit.metrics._contract import METRICS, Pooled

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Coordinates up to this are shares of the image: boxes may reach beyond it.
_SHARES = 2.0
#: Steps of the grids on which YOLO models look for objects.
_STRIDES = (8, 16, 32)
#: Precision from which labels can decide, and how much better the best reading must be than the next.
_LEAST, _BETTER = 0.02, 1.3
#: Share of negative sides from which boxes do not lie in the image.
_NEGATIVE = 0.2
#: Names that TensorFlow's detection models and converters give: boxes are top, left, bottom, right in shares.
_TENSORFLOW = ("detection_boxes", "tflite_detection_postprocess")
_WORDS = {"scores": ("score", "conf", "prob", "logit"), "classes": ("class", "label"), "count": ("num", "count")}
#: Columns beyond which an axis holds boxes, not what is said of each.
_MOST_COLUMNS = 4


def settled(
    contract: Contract, outputs: Mapping[str, NDArray[Any]], labels: NDArray[Any] | None, said: Mapping[str, Any],
    batch: Mapping[str, NDArray[Any]],
) -> Contract:  # fmt: skip
    """The contract of a detector with the form of its outputs.

    Args:
        contract: By the file and the data.
        outputs: What the original model gives for some examples, by name.
        labels: Boxes of these examples; None when there are none.
        said: What the user says of them: it stands.
        batch: The examples.

    Raises:
        DatasetError: It is not clear; says what to declare.
        UnsupportedModelError: The outputs need anchors that the file does not give.
    """
    if contract.scored.kind != "boxes":
        return contract
    found = _Finding(contract, outputs, labels, dict(said), batch).run()
    roles: dict[str, Any] = dict.fromkeys(found.parts, "part") | {found.boxes: "scored"}
    meanings = tuple(
        o if o.role == "state" else replace(
            o, role=roles.get(o.name, "judged"), kind="boxes" if o.name == found.boxes else "values", why="",
        )
        for o in contract.outputs
    )  # fmt: skip
    return replace(contract, outputs=meanings, detection=found)


class _Finding:
    def __init__(
        self, contract: Contract, outputs: Mapping[str, NDArray[Any]], labels: NDArray[Any] | None,
        said: dict[str, Any], batch: Mapping[str, NDArray[Any]],
    ) -> None:  # fmt: skip
        self._outputs = {o.name: outputs[o.name] for o in contract.outputs if o.role in ("scored", "part")}
        self._scored = contract.scored.name
        self._labels = labels
        self._said = said
        self._count = contract.labels.classes or len(contract.labels.named)
        self._size = _size_of(batch)
        for key in ("boxes", "scores", "classes", "count"):
            if (name := said.get(key)) and name not in self._outputs:
                raise unknown_name(f"output in boxes[{key!r}]", str(name), self._outputs)

    def run(self) -> Detection:
        layout = self._said.get("layout") or self._layout()
        made = {"parts": self._parts, "rows": self._rows, "heads": self._heads}[layout]()
        ways = [replace(way, **self._said) for way in made]
        return self._chosen(list({_hashable(way): way for way in ways}.values()))

    # -- layouts ------------------------------------------------------------------------------------------------------

    def _layout(self) -> str:
        whole = self._outputs[self._said.get("boxes", self._scored)]
        shape = whole.shape[1:]
        if shape and shape[-1] == 4 and len(self._outputs) > 1:
            return "parts"
        if len(shape) == 2 and shape[-1] == 6 and any(_are_whole(whole[..., column]) for column in (4, 5)):
            return "rows"
        if len(shape) == 2 and shape[-1] == 7 and shape[0] > 7 and _are_whole(whole[..., 0]):
            raise self._unclear(
                "has rows of seven numbers, which begin with the number of an image in the batch",
                "export the model with one row of detections for each example, or without NMS.",
            )
        if len(shape) == 2 and min(shape) > _MOST_COLUMNS and max(shape) > min(shape):
            return "heads"
        maps = [name for name, value in self._outputs.items() if value.ndim >= 4]
        if maps:
            raise UnsupportedModelError(
                f"Output {maps[0]!r} has shape {self._outputs[maps[0]].shape}: maps of boxes relative to anchors, "
                "which the file does not give.",
                remedy="export the model with its boxes decoded, as its training tool does for ONNX or TFLite.",
            )
        raise self._unclear("has no form of boxes that is known")

    def _rows(self) -> Iterator[Detection]:
        name = self._said.get("boxes", self._scored)
        rows = self._outputs[name]
        if rows.ndim != 3 or rows.shape[2] != 6:
            raise self._unclear("has no rows of six numbers")
        if "score_column" in self._said:
            column = self._said["score_column"]
        else:
            whole = [c for c in (4, 5) if _are_whole(rows[..., c])]
            if len(whole) != 1:
                raise self._unclear(
                    "does not show whether column 4 or 5 holds the score", "say it: boxes={'score_column': 4}."
                )
            column = 9 - whole[0]
        for way in self._formats(name, "rows", ("xyxy", "yxyx", "xywh", "cxcywh")):
            for first in self._first_classes(rows[..., 9 - column]):
                yield replace(way, score_column=column, first_class=first)

    def _heads(self) -> Iterator[Detection]:
        import numpy as np

        name = self._said.get("boxes", self._scored)
        whole = self._outputs[name]
        if whole.ndim != 3:
            raise self._unclear("has no columns of boxes and scores")
        axis = self._said.get("axis") or (1 if whole.shape[1] < whole.shape[2] else -1)
        columns = np.moveaxis(whole, axis, -1)
        objectness = self._said.get("objectness")
        if objectness is None:
            objectness = self._has_objectness(columns.shape[1], columns.shape[2])
        reach = float(np.percentile(columns[..., :2], 99))
        normalized = self._said.get("normalized", reach <= _SHARES)
        near = reach < 0.5 * (1.0 if normalized else min(self._size))
        if "format" not in self._said and (near or float(columns[..., 2:4].min()) < -0.05 * max(reach, 1.0)):
            raise self._relative(name)
        inside = float(columns[..., 4:].min()) >= 0 and float(columns[..., 4:].max()) <= 1
        yield Detection(
            "heads", "cxcywh", name, normalized=normalized, size=self._size, objectness=objectness, axis=axis,
            activation="none" if inside else "sigmoid", nms="outside", why="by its shape",
        )  # fmt: skip

    def _has_objectness(self, anchors: int, columns: int) -> bool:
        known = {4 + self._count: False, 5 + self._count: True}
        if self._count and columns in known:
            return known[columns]
        height, width = self._size
        cells = sum((height // step) * (width // step) for step in _STRIDES)
        if anchors == cells:
            return False
        if anchors == 3 * cells:
            return True
        of = f", the data have {self._count} classes" if self._count else ""
        raise self._unclear(
            f"has {columns} columns{of}: it is not clear whether column 4 is an objectness",
            "say it: boxes={'objectness': True} or False; and give the names of the model's classes: classes=[…].",
        )

    def _parts(self) -> Iterator[Detection]:
        name = self._said.get("boxes", self._scored)
        boxes = self._outputs[name]
        count = boxes[0].size // 4
        rest = {n: v.reshape(len(v), -1) for n, v in self._outputs.items() if n != name}
        one = {n: v for n, v in rest.items() if v.shape[1] == count}
        roles: dict[str, str] = {key: self._said[key] for key in ("scores", "classes", "count") if key in self._said}
        for key, words in _WORDS.items():
            named = [n for n in rest if n not in roles.values() and any(w in plain_name(n).lower() for w in words)]
            if key not in roles and len(named) == 1:
                roles[key] = named[0]
        roles |= self._by_values(one, roles) | self._single(rest, roles)
        per_class = [
            n for n, v in rest.items()
            if n not in roles.values() and count and v.shape[1] > count and v.shape[1] % count == 0
        ]  # fmt: skip
        if "scores" not in roles and len(per_class) == 1:
            roles["scores"] = per_class[0]
        if "scores" not in roles:
            raise self._unclear(
                f"holds boxes, and none of the outputs {', '.join(rest)} shows that it holds their scores",
                "name it: boxes={'scores': …, 'classes': …}.",
            )
        scores = rest[roles["scores"]]
        each = scores.shape[1] // count
        if each == 1 and "classes" not in roles and self._count > 1:
            raise self._unclear(
                f"holds boxes, and no output holds their classes (scores: {roles['scores']!r})",
                "name it: boxes={'classes': …}.",
            )
        settings: dict[str, Any] = {"nms": "inside"}
        if each > 1:
            roles.pop("classes", None)
            settings = self._per_class(scores.reshape(len(scores), count, each))
        for way in self._formats(name, "parts", self._said_by_name(name)):
            for first in self._first_classes(rest[roles["classes"]] if "classes" in roles else None):
                yield replace(way, **{**roles, **settings, "first_class": first})

    def _by_values(self, one: Mapping[str, NDArray[Any]], roles: Mapping[str, str]) -> dict[str, str]:
        """Scores and classes among the outputs with a number for each box."""
        left = {n: v for n, v in one.items() if n not in roles.values()}
        whole = [n for n, v in left.items() if _are_whole(v)]
        real = [n for n, v in left.items() if n not in whole and v.min() >= 0 and v.max() <= 1]
        found = {}
        if "classes" not in roles and len(whole) == 1:
            found["classes"] = whole[0]
        if "scores" not in roles and len(real) == 1:
            found["scores"] = real[0]
        return found

    def _single(self, rest: Mapping[str, NDArray[Any]], roles: Mapping[str, str]) -> dict[str, str]:
        """The number of boxes: one whole number for each example."""
        left = [n for n, v in rest.items() if n not in roles.values() and v.shape[1] == 1 and _are_whole(v)]
        return {"count": left[0]} if "count" not in roles and len(left) == 1 else {}

    def _per_class(self, scores: NDArray[Any]) -> dict[str, Any]:
        """Background and activation of scores for each class."""
        inside = float(scores.min()) >= 0 and float(scores.max()) <= 1
        usual = scores.mean(axis=(0, 1)).argmax()
        background = "none"
        if self._count and scores.shape[2] == self._count + 1:
            background = "first" if usual == 0 else "last"
        softmax = background != "none" and not inside
        activation = "none" if inside else "softmax" if softmax else "sigmoid"
        return {"background": background, "activation": activation, "nms": "outside"}

    # -- formats ------------------------------------------------------------------------------------------------------

    def _said_by_name(self, name: str) -> tuple[str, ...]:
        tensorflow = any(plain_name(name).lower().startswith(plain_name(word).lower()) for word in _TENSORFLOW)
        return ("yxyx",) if tensorflow else FORMATS

    def _formats(self, name: str, layout: Any, formats: Sequence[str]) -> Iterator[Detection]:
        """Ways to read the four numbers, without those that they contradict."""
        import numpy as np

        values = self._outputs[name]
        values = (values if layout == "rows" else values.reshape(len(values), -1, 4))[..., :4].astype(np.float64)
        high = float(np.nanpercentile(np.abs(values), 99.9)) if values.size else 0.0
        normalized = self._said.get("normalized", high <= _SHARES)
        if "format" in self._said:
            formats = (self._said["format"],)
        elif len(formats) > 1:
            there = values[np.abs(values).sum(axis=-1) > 0]
            ordered = (there[:, 2:] >= there[:, :2]).mean() if len(there) else 1.0
            if self._labels is None and ordered < 0.5:  # boxes of no object may be anything
                formats = [f for f in formats if f not in ("xyxy", "yxyx")]
            if (there[:, 2:] < 0).mean() > _NEGATIVE:  # right and bottom, or width and height
                raise self._relative(name)
        for one in formats:
            why = "by its name" if len(formats) == 1 and "format" not in self._said else ""
            yield Detection(layout, one, name, normalized=normalized, size=self._size, why=why)  # type: ignore[arg-type]  # one of the formats

    def _first_classes(self, classes: NDArray[Any] | None) -> Iterable[int]:
        if classes is None or "first_class" in self._said:
            return (self._said.get("first_class", 0),)
        return (0, 1)

    def _chosen(self, unique: Sequence[Detection]) -> Detection:
        """The one way, or the one that the labels show; the first when it does not matter."""
        if len(unique) == 1:
            return unique[0]
        if self._labels is not None:
            metric = METRICS.get("mean_average_precision_50")
            assert isinstance(metric, Pooled)
            values = [metric.overall(decoded(self._outputs, way), self._labels) for way in unique]
            order = sorted(range(len(unique)), key=lambda i: -values[i])
            best, next_ = values[order[0]], values[order[1]]
            if best >= _LEAST and best >= _BETTER * next_:
                why = f"the labels fit: mAP at IoU .50 is {best:.2f}, read otherwise {next_:.2f} at most"
                return replace(unique[order[0]], why=why)
        formats = list(dict.fromkeys(way.format for way in unique))
        if self._labels is None and len(formats) == 1:
            return unique[0]  # the numbers of classes do not matter among a model's own answers
        if self._labels is None and unique[0].layout == "rows" and "xyxy" in formats:
            return replace(next(way for way in unique if way.format == "xyxy"), why="as rows usually are")
        more = "" if self._labels is None else ", and read in no way do they fit the labels"
        firsts = {way.first_class for way in unique}
        ask = f"'format': {' or '.join(map(repr, formats))}" if len(formats) > 1 else ""
        ask += f"{', ' if ask else ''}'first_class': 0 or 1" if len(firsts) > 1 else ""
        raise self._unclear(f"does not show how its boxes are to be read{more}", f"say it: boxes={{{ask}}} (--boxes).")

    def _unclear(self, why: str, remedy: str = "") -> DatasetError:
        whole = self._outputs[self._said.get("boxes", self._scored)]
        usual = "say how: boxes={'layout': 'parts', 'rows' or 'heads', 'format': …} (--boxes layout=…)."
        return DatasetError(
            f"Output {self._said.get('boxes', self._scored)!r}, shape {whole.shape[1:]} per example, {why}.",
            remedy=remedy or usual,
        )

    def _relative(self, name: str) -> UnsupportedModelError:
        return UnsupportedModelError(
            f"The boxes of output {name!r} do not lie in the image: they are relative to anchors (priors), which the "
            "file does not give.",
            remedy="export the model with its boxes decoded; if they are, say how: boxes={'format': …, 'normalized': "
            "…} (--boxes).",
        )


def _hashable(way: Detection) -> tuple[tuple[str, Any], ...]:
    return tuple((key, value) for key, value in way.said.items())


def _are_whole(values: NDArray[Any]) -> bool:
    import numpy as np

    return bool(np.isfinite(values).all() and (values == np.rint(values)).all())


def _size_of(batch: Mapping[str, NDArray[Any]]) -> tuple[int, int]:
    """(height, width) of the images, (1, 1) without any."""
    for value in batch.values():
        if value.ndim == 4:
            first = channel_order(value.shape[1:]) == "channels_first"
            height, width = value.shape[2:] if first else value.shape[1:3]
            return int(height), int(width)
    return 1, 1
