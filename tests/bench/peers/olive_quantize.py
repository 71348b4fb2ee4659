"""Olive's passes for fewer bits on an ONNX file, in its own environment: ``olive_quantize.py MODEL NPZ COUNT FOLDER``.

A pass that fails is named at the end, with its error.
"""

import sys

import numpy as np
import olive_passes  # before Olive itself, whose reports to a server it turns off
import onnx
import torch
from olive.data.registry import Registry


class Images(torch.utils.data.Dataset):
    """Inputs by name, and labels that are not used."""

    def __init__(self, data, name, count):
        with np.load(data) as file:
            images = file["x_train"][:count]
        self.name = name
        self.images = images if images.ndim == 4 else images[..., None].astype(np.float32) / 255

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return {self.name: torch.from_numpy(self.images[index])}, 0


@Registry.register_dataset()
def images(data, name, count, **_options):
    """The first images of the training data."""
    return Images(data, name, count)


def main() -> None:
    model, data, count, folder = sys.argv[1:]
    static = {"type": "OnnxStaticQuantization", "data_config": "calibration", "quant_format": "QDQ"}
    passes = {
        "dynamic": {"type": "OnnxDynamicQuantization"},
        "static": {**static, "per_channel": False},
        "static-channels": {**static, "per_channel": True},
        "weights4": {"type": "OnnxBlockWiseRtnQuantization"},
        "half-floats": {"type": "OnnxFloatToFloat16", "keep_io_types": True},
    }
    name = onnx.load(model).graph.input[0].name
    wanted = {"type": "images", "data": data, "name": name, "count": int(count)}
    calibration = {
        "name": "calibration", "type": "DataContainer", "load_dataset_config": wanted,
        "dataloader_config": {"batch_size": 1, "drop_last": False},
    }  # fmt: skip
    ways = {label: {"quantization": settings} for label, settings in passes.items()}
    olive_passes.run_each(model, ways, folder, data_configs=[calibration])


if __name__ == "__main__":
    main()
