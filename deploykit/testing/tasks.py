"""A small network for each task, trained in seconds on images of clothes, to try a task from end to end.

Scenes are put together from single pictures, so what is where in them is known exactly::

    made = tasks.train("segmentation", "fashion-mnist.npz", folder)
    model, data = dk.load(made.model), dk.Dataset.from_npz(made.data, preprocess=made.preprocess)
"""

from __future__ import annotations

import base64
import html
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from deploykit.core.errors import unknown_name
from deploykit.data.preprocess import Preprocess
from deploykit.reporting.views.html import THEMED
from deploykit.reporting.views.images import png

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Width and height of a scene, in pixels.
SIZE = 32
#: Classes of clothes that scenes show, by their numbers in the data, and their names.
SHOWN = {1: "trouser", 5: "sandal", 8: "bag", 6: "shirt"}
#: Cells of a side in which the detector looks.
CELLS = 8
#: Longest side of a picture of scenes, in pixels.
_LONGEST = 1024
_MOST_ITEMS = 3
_TRAINED, _JUDGED = 2000, 400


class Scenes(NamedTuple):
    """Scenes with one to three pieces of clothes.

    Attributes:
        images: Bytes, shape (scenes, SIZE, SIZE).
        masks: Class of each pixel, 0 for the background and 1 … for the names in `SHOWN`, shape (scenes, SIZE, SIZE).
        boxes: By scene, rows of x1, y1, x2, y2 in pixels, and the class from 0.
    """

    images: NDArray[np.uint8]
    masks: NDArray[np.int64]
    boxes: list[NDArray[np.int64]]


@dataclass(frozen=True)
class Made:
    """A trained network and the data it is judged by.

    Attributes:
        model: Keras file.
        data: ``.npz`` file: ``x_train``, ``y_train``, ``x_test``, ``y_test``, and ``classes`` where there are some.
        preprocess: From what the file holds to what the network takes.
        metric: Name of the metric that the field uses.
        declared: What a sweep cannot find out by itself: its options.
    """

    model: Path
    data: Path
    preprocess: Preprocess
    metric: str
    declared: dict[str, Any]


#: Colors of the background of masks on light and dark pages, and of the classes in `SHOWN` on both.
_GROUND, _COLORS = ((255, 255, 255), (24, 24, 27)), ((31, 119, 180), (255, 127, 14), (44, 160, 44), (148, 103, 189))


class Scenery:
    """Scenes, and below them masks of them, as a picture in a notebook.

    Args:
        words: What it shows, for screen readers.
        images: Bytes, shape (scenes, SIZE, SIZE).
        masks: Class of each pixel, by row of the picture, shape (scenes, SIZE, SIZE) each.
    """

    def __init__(self, words: str, images: NDArray[Any], *masks: NDArray[Any]) -> None:
        self._words, self._images, self._masks = words, images, masks

    def drawn(self, *, dark: bool) -> NDArray[np.uint8]:
        """The pixels, for a dark page or a light one."""
        import numpy as np

        ground = _GROUND[dark]
        colors = np.array([ground, *_COLORS], np.uint8)
        rows = [np.repeat(self._images[..., None], 3, axis=-1), *(colors[mask] for mask in self._masks)]
        lines = []
        for row in rows:
            framed = np.full((len(row), SIZE + 2, SIZE + 2, 3), ground, np.uint8)
            framed[:, 1:-1, 1:-1] = row
            lines.append(np.concatenate(list(framed), axis=1))
        return np.concatenate(lines)

    def __repr__(self) -> str:
        return self._words

    def _repr_html_(self) -> str:
        words, shown = html.escape(self._words, quote=True), ""
        for name, dark in (("light", False), ("dark", True)):
            data = base64.b64encode(png(self.drawn(dark=dark), _LONGEST)).decode()
            shown += f'<img class="dk-{name}" alt="{words}" src="data:image/png;base64,{data}">'
        return f'<style>{THEMED}</style><div class="dk-report">{shown}</div>'


def scenes(images: NDArray[Any], labels: NDArray[Any], count: int, seed: int) -> Scenes:
    """Put scenes together from pictures of 28 × 28 pixels, shown at half their size."""
    import numpy as np

    rng = np.random.default_rng(seed)
    numbers = list(SHOWN)
    by_class = [np.flatnonzero(labels == number) for number in numbers]
    small = images.reshape(len(images), 14, 2, 14, 2).mean(axis=(2, 4))
    found, masks = np.zeros((count, SIZE, SIZE)), np.zeros((count, SIZE, SIZE), np.int64)
    boxes = []
    for scene in range(count):
        placed = []
        for _ in range(int(rng.integers(1, _MOST_ITEMS + 1))):
            kind = int(rng.integers(len(numbers)))
            item = small[rng.choice(by_class[kind])]
            there = item > 40
            if not there.any():
                continue
            top, left = rng.integers(0, SIZE - 14, 2)
            if masks[scene, top : top + 14, left : left + 14].any():
                continue  # they do not hide each other
            part = (scene, slice(top, top + 14), slice(left, left + 14))
            found[part] = np.maximum(found[part], item)
            masks[part] = np.where(there, kind + 1, masks[part])
            rows, columns = np.flatnonzero(there.any(axis=1)), np.flatnonzero(there.any(axis=0))
            placed.append([left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1, kind])
        boxes.append(np.array(placed, np.int64).reshape(-1, 5))
    noisy = found + rng.normal(0, 8, found.shape)
    return Scenes(noisy.clip(0, 255).astype(np.uint8), masks, boxes)


def train(task: str, source: Path | str, folder: Path | str, *, seed: int = 0) -> Made:
    """Train a task's network in a child process.

    Args:
        task: A name in `TASKS`.
        source: Fashion-MNIST as ``.npz`` file.
        folder: Existing folder for the files.
        seed: Of scenes and weights.
    """
    from deploykit.sandbox.supervisor import shared
    from deploykit.sandbox.task import Task

    if task not in TASKS:
        raise unknown_name("task", task, TASKS)
    model, data = Path(folder) / f"{task}.keras", Path(folder) / f"{task}.npz"
    arguments = {"task": task, "source": str(source), "model": str(model), "data": str(data), "seed": seed}
    shared().run(Task("deploykit.testing.tasks:make", arguments, group="tensorflow", name=f"training for {task}"))
    kind = TASKS[task]
    return Made(model, data, Preprocess(scale=1 / 255, reshape=kind.shape), kind.metric, dict(kind.declared))


def make(arguments: dict[str, Any], report: Any) -> dict[str, Any]:
    """Task: train the network of ``task`` on the images in ``source``."""
    import keras
    import numpy as np

    del report
    kind, seed = TASKS[arguments["task"]], int(arguments["seed"])
    with np.load(arguments["source"]) as file:
        parts = {
            "train": kind.data(file["x_train"], file["y_train"], _TRAINED, seed),
            "test": kind.data(file["x_test"], file["y_test"], _JUDGED, seed + 1),
        }
    keras.utils.set_random_seed(seed)
    model = kind.network()
    images, labels = parts["train"]
    model.compile(keras.optimizers.Adam(3e-3), kind.loss)
    fed = images.reshape(len(images), *kind.shape).astype(np.float32) / 255
    wanted = kind.targets(labels) if kind.targets else labels
    model.fit(fed, wanted, batch_size=64, epochs=kind.epochs, verbose=0)
    if kind.kept:  # what is learned for is not what is served
        model = keras.Model(model.inputs, model.get_layer(kind.kept).output, name=model.name)
    model.save(arguments["model"])
    arrays: dict[str, Any] = {
        f"{name}_{part}": array for part, pair in parts.items() for name, array in zip("xy", pair, strict=True)
    }
    named: dict[str, Any] = {"classes": np.array(kind.classes)} if kind.classes else {}
    np.savez(arguments["data"], **arrays, **named)
    return {}


class Kind(NamedTuple):
    """How a task's network is made.

    Attributes:
        metric: Name of the metric.
        data: Images and labels of the whole set, examples wanted and a seed → images as bytes, labels.
        network: Makes it.
        loss: What it is trained by.
        shape: Of an image as the network takes it.
        classes: Names.
        epochs: How long.
        kept: Layer whose answer is served; "" for the last one.
        declared: See `Made`.
        targets: What the network learns for labels, where it is not these.
    """

    metric: str
    data: Callable[[NDArray[Any], NDArray[Any], int, int], tuple[NDArray[Any], NDArray[Any]]]
    network: Callable[[], Any]
    loss: Any
    shape: tuple[int, ...] = (SIZE, SIZE, 1)
    classes: tuple[str, ...] = ()
    epochs: int = 4
    kept: str = ""
    declared: tuple[tuple[str, Any], ...] = ()
    targets: Callable[[NDArray[Any]], Any] | None = None


def _encoder(channels: tuple[int, ...] = (8, 16)) -> tuple[Any, list[Any]]:
    """An input, and what is seen at each scale."""
    import keras

    layers = keras.layers
    image = keras.Input((SIZE, SIZE, 1), name="image")
    x, seen = image, []
    for width in channels:
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        seen.append(x)
        x = layers.MaxPooling2D()(x)
    seen.append(layers.Conv2D(2 * channels[-1], 3, padding="same", activation="relu")(x))
    return image, seen


def _segmenter() -> Any:
    """Scores of each pixel's class, shape (SIZE, SIZE, classes): an encoder and a decoder with skips."""
    import keras

    layers = keras.layers
    image, seen = _encoder()
    x = seen.pop()
    while seen:
        skip = seen.pop()
        x = layers.Concatenate()([layers.UpSampling2D()(x), skip])
        x = layers.Conv2D(skip.shape[-1], 3, padding="same", activation="relu")(x)
    return keras.Model(image, layers.Conv2D(len(SHOWN) + 1, 1, name="pixels")(x), name="segmenter")


def _detector() -> Any:
    """For the item whose center a cell holds: its box in shares of the image, (CELLS², 4), and scores of classes."""
    import keras
    import numpy as np

    layers = keras.layers
    image, seen = _encoder((16, 32))
    x = layers.Conv2D(64, 3, padding="same", activation="relu")(seen[-1])
    scores = layers.Conv2D(len(SHOWN), 1, activation="sigmoid", bias_initializer=keras.initializers.Constant(-4))(x)
    corners = layers.Flatten()(layers.Conv2D(4, 1, kernel_initializer="zeros")(x))
    middle = (np.stack(np.meshgrid(np.arange(CELLS), np.arange(CELLS)), axis=-1).reshape(-1, 2) + 0.5) / CELLS
    place = layers.Dense(4 * CELLS**2, "linear", name="place")
    boxes = layers.Reshape((CELLS**2, 4), name="boxes")(place(corners))
    place.set_weights([np.eye(4 * CELLS**2), np.hstack([middle, middle]).ravel()])
    scores = layers.Reshape((CELLS**2, len(SHOWN)), name="scores")(scores)
    return keras.Model(image, {"boxes": boxes, "scores": scores}, name="detector")


def _cells(labels: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """What each cell is to say: the box and whether there is one, shape (scenes, CELLS², 5), and the class."""
    import numpy as np

    boxes = np.zeros((len(labels), CELLS**2, 5), np.float32)
    scores = np.zeros((len(labels), CELLS**2, len(SHOWN)), np.float32)
    scene, row = np.nonzero(labels[..., 4] >= 0)
    found = labels[scene, row]
    column, line = ((found[:, axis] + found[:, axis + 2]) / 2 * CELLS for axis in (0, 1))
    cell = line.astype(int) * CELLS + column.astype(int)
    boxes[scene, cell, :4], boxes[scene, cell, 4] = found[:, :4], 1
    scores[scene, cell, found[:, 4].astype(int)] = 1
    return {"boxes": boxes, "scores": scores}


def _near(wanted: Any, found: Any) -> Any:
    """Mean distance of the corners, of cells with a box."""
    import keras

    off = keras.ops.sum(keras.ops.abs(wanted[..., :4] - found), axis=-1) * wanted[..., 4]
    return 20 * keras.ops.sum(off) / (keras.ops.sum(wanted[..., 4]) + 1)


def _found(wanted: Any, found: Any) -> Any:
    """Cross-entropy of classes in cells, in which what is there counts as much as what is not."""
    import keras

    each = keras.ops.maximum(found, 1e-6), keras.ops.maximum(1 - found, 1e-6)
    some = -(8 * wanted * keras.ops.log(each[0]) + (1 - wanted) * keras.ops.log(each[1]))
    return 10 * keras.ops.mean(some)


def _headed(units: int, activation: str | None, name: str) -> Callable[[], Any]:
    def build() -> Any:
        import keras

        layers = keras.layers
        image, seen = _encoder()
        x = layers.Flatten()(layers.MaxPooling2D()(seen[-1]))
        x = layers.Dense(64, activation="relu", name="features")(x)
        return keras.Model(image, layers.Dense(units, activation=activation, name=name)(x), name=name)

    return build


def _embedder() -> Any:
    """A vector for each picture; it is learned by telling the ten classes apart."""
    import keras

    layers = keras.layers
    image = keras.Input((28, 28, 1), name="image")
    x = image
    for width in (16, 32):
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Dense(32, name="dense")(layers.Flatten()(x))
    x = layers.UnitNormalization(name="embedding")(x)
    scores = layers.Dense(10, name="scores")(layers.Rescaling(8.0)(x))
    return keras.Model(image, scores, name="embedder")


def _masks(images: NDArray[Any], labels: NDArray[Any], count: int, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    made = scenes(images, labels, count, seed)
    return made.images, made.masks


def _boxed(images: NDArray[Any], labels: NDArray[Any], count: int, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """What is where: rows of left, top, right and bottom in shares of the scene, the class, and 0 for no crowd."""
    import numpy as np

    from deploykit.data.boxes import padded

    made = scenes(images, labels, count, seed)
    rows = [np.column_stack([one[:, :4] / SIZE, one[:, 4:], np.zeros((len(one), 1))]) for one in made.boxes]
    return made.images, padded([row.astype(np.float32) for row in rows])


def _shown(images: NDArray[Any], labels: NDArray[Any], count: int, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Which classes a scene shows."""
    import numpy as np

    made = scenes(images, labels, count, seed)
    found = np.stack([(made.masks == kind + 1).any(axis=(1, 2)) for kind in range(len(SHOWN))], axis=1)
    return made.images, found.astype(np.int64)


def _any_bag(images: NDArray[Any], labels: NDArray[Any], count: int, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Whether there is a bag in it."""
    found, shown = _shown(images, labels, count, seed)
    return found, shown[:, list(SHOWN.values()).index("bag")]


def _covered(images: NDArray[Any], labels: NDArray[Any], count: int, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Share of the scene that clothes cover, in percent."""
    import numpy as np

    made = scenes(images, labels, count, seed)
    return made.images, (100 * (made.masks > 0).mean(axis=(1, 2))).astype(np.float32)[:, None]


def _pictures(images: NDArray[Any], labels: NDArray[Any], count: int, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    import numpy as np

    chosen = np.random.default_rng(seed).permutation(len(images))[:count]
    return images[chosen], labels[chosen].astype(np.int64)


def _pixels(labels: Any, scores: Any) -> Any:
    import keras

    return keras.losses.sparse_categorical_crossentropy(labels, scores, from_logits=True)


def _classes(labels: Any, scores: Any) -> Any:
    import keras

    return keras.losses.sparse_categorical_crossentropy(labels, scores, from_logits=True)


_NAMES = tuple(SHOWN.values())
#: Task → how its network is made.
TASKS: dict[str, Kind] = {
    "segmentation": Kind("mean_iou", _masks, _segmenter, _pixels, epochs=8, classes=("background", *_NAMES)),
    "detection": Kind(
        "mean_average_precision_50",
        _boxed,
        _detector,
        {"boxes": _near, "scores": _found},
        classes=_NAMES,
        epochs=12,
        targets=_cells,
    ),
    "several labels": Kind(
        "macro_f1", _shown, _headed(len(SHOWN), "sigmoid", "shown"), "binary_crossentropy", classes=_NAMES, epochs=6
    ),
    "two classes": Kind(
        "roc_auc", _any_bag, _headed(1, "sigmoid", "bag"), "binary_crossentropy", classes=("none", "bag"), epochs=6
    ),
    "regression": Kind("r2", _covered, _headed(1, None, "percent"), "mse", epochs=6),
    "embedding": Kind(
        "recall_at_k:1",
        _pictures,
        _embedder,
        _classes,
        shape=(28, 28, 1),
        kept="embedding",
        declared=(("scores", "embedding"),),
    ),
}
