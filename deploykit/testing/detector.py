"""A detector that is right by construction, and scenes in which it finds everything: mAP is known without training.

Every cell of a grid holds at most one bright rectangle, which begins at the cell's top left corner. Its color is its
class; its width and height are sums of a row and a column of pixels, which a convolution gives exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Pixels of a side of the image and of a cell; classes, one for each color.
SIDE, CELL, CLASSES = 32, 8, ("red", "green", "blue")
_GRID = SIDE // CELL


def scenes(count: int, seed: int = 0, *, empty: float = 0.05) -> tuple[NDArray[Any], NDArray[Any]]:
    """Images and their boxes.

    Args:
        count: Number of images.
        seed: Of everything that is random.
        empty: Share of images without a box.

    Returns:
        uint8 (count, 32, 32, 3), and boxes as `deploykit.Dataset.from_coco` gives them, (count, boxes, 6).
    """
    import numpy as np

    from deploykit.data.boxes import padded

    rng = np.random.default_rng(seed)
    images = rng.integers(0, 30, (count, SIDE, SIDE, 3)).astype(np.uint8)
    labels = []
    for image in images:
        found = []
        for cell in rng.permutation(_GRID**2)[: 0 if rng.random() < empty else rng.integers(1, 5)]:
            top, left = CELL * (cell // _GRID), CELL * (cell % _GRID)
            height, width = rng.integers(4, CELL + 1, 2)
            number = rng.integers(0, len(CLASSES))
            image[top : top + height, left : left + width, number] = rng.integers(215, 256)
            found.append([*np.array([left, top, left + width, top + height]) / SIDE, number, 0])
        labels.append(np.array(found, np.float32).reshape(-1, 6))
    return images, padded(labels)


def _weights() -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Kernel (height, width, color, …) and bias of sizes and of colors, and where the cells are, (cells, 4)."""
    import numpy as np

    bright, dark = 235 / 255, 15 / 255
    size = np.zeros((CELL, CELL, 3, 4))
    # A row of the three colors together: bright pixels stand out of the dark ones by a known level.
    size[0, :, :, 2] = size[:, 0, :, 3] = 1 / (bright - dark) / SIDE
    offset = -3 * CELL * dark / (bright - dark) / SIDE
    color = np.zeros((CELL, CELL, 3, 3))
    color[:4, :4] = (np.eye(3) * 1.5 - 0.5) * 12 / 16
    cells = np.stack(np.meshgrid(np.arange(_GRID), np.arange(_GRID)), axis=-1).reshape(-1, 2) / _GRID
    return size, np.array([0, 0, offset, offset]), color, np.full(3, -6.0), np.hstack([cells, cells])


def keras_detector() -> Any:
    """A Keras model: image (batch, 32, 32, 3), 0 to 1 → ``boxes`` (batch, 16, 4) and ``scores`` (batch, 16, 3)."""
    import keras
    import numpy as np

    layers = keras.layers
    image = keras.Input((SIDE, SIDE, 3), name="image")
    size = layers.Conv2D(4, CELL, strides=CELL, name="size")(image)
    place = layers.Dense(4 * _GRID**2, name="place")(layers.Flatten(name="flat")(size))
    boxes = layers.Reshape((_GRID**2, 4), name="boxes")(place)
    color = layers.Conv2D(len(CLASSES), CELL, strides=CELL, activation="sigmoid", name="color")(image)
    scores = layers.Reshape((_GRID**2, len(CLASSES)), name="scores")(color)
    model = keras.Model(image, [boxes, scores], name="detector")
    sizes, offsets, colors, level, cells = _weights()
    model.get_layer("size").set_weights([sizes, offsets])
    model.get_layer("place").set_weights([np.eye(4 * _GRID**2), cells.reshape(-1)])
    model.get_layer("color").set_weights([colors, level])
    return model


def onnx_detector() -> Any:
    """The same as ONNX, which takes images as (batch, 3, 32, 32)."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    sizes, offsets, colors, level, cells = _weights()
    constants = {
        "sizes": sizes.transpose(3, 2, 0, 1), "offsets": offsets, "colors": colors.transpose(3, 2, 0, 1),
        "level": level, "cells": cells[None],
    }  # fmt: skip
    weights = [numpy_helper.from_array(v.astype(np.float32), name) for name, v in constants.items()]
    weights.append(numpy_helper.from_array(np.array([0, 4, -1]), "as_sizes"))
    weights.append(numpy_helper.from_array(np.array([0, 3, -1]), "as_colors"))
    nodes = [
        helper.make_node("Conv", ["image", "sizes", "offsets"], ["size"], "size", strides=[CELL, CELL]),
        helper.make_node("Reshape", ["size", "as_sizes"], ["flat"], "flat"),
        helper.make_node("Transpose", ["flat"], ["turned"], "turned", perm=[0, 2, 1]),
        helper.make_node("Add", ["turned", "cells"], ["boxes"], "place"),
        helper.make_node("Conv", ["image", "colors", "level"], ["color"], "color", strides=[CELL, CELL]),
        helper.make_node("Reshape", ["color", "as_colors"], ["odds"], "odds"),
        helper.make_node("Transpose", ["odds"], ["logits"], "logits", perm=[0, 2, 1]),
        helper.make_node("Sigmoid", ["logits"], ["scores"], "scores"),
    ]
    kind = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "detector", [helper.make_tensor_value_info("image", kind, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("boxes", kind, ["batch", _GRID**2, 4]),
         helper.make_tensor_value_info("scores", kind, ["batch", _GRID**2, len(CLASSES)])],
        weights,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
