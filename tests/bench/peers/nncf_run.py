"""NNCF's 8-bit quantization of an ONNX file, in an environment of its own: ``nncf_run.py MODEL NPZ COUNT TARGET``."""

import sys

import numpy as np
import onnx


def main() -> None:
    import nncf

    model_path, data_path, count, target = sys.argv[1:]
    model = onnx.load(model_path)
    name = model.graph.input[0].name
    images = np.load(data_path)["x_train"][: int(count)]
    images = images if images.ndim == 4 else images[..., None].astype(np.float32) / 255
    dataset = nncf.Dataset([{name: image[None]} for image in images])
    made = nncf.quantize(model, dataset, subset_size=int(count))
    onnx.save(made, target)


if __name__ == "__main__":
    main()
