"""NNCF's 8-bit quantization of an ONNX file, in an environment of its own: ``nncf_run.py MODEL NPZ COUNT FOLDER``."""

import os
import sys
from pathlib import Path

import numpy as np
import onnx

os.environ["NNCF_CI"] = "1"  # it reports to a server otherwise


def main() -> None:
    import nncf

    model_path, data_path, count, folder = sys.argv[1:]
    model = onnx.load(model_path)
    name = model.graph.input[0].name
    images = np.load(data_path)["x_train"][: int(count)]
    images = images if images.ndim == 4 else images[..., None].astype(np.float32) / 255
    dataset = nncf.Dataset([{name: image[None]} for image in images])
    settings = {"nncf": {}, "nncf-mixed": {"preset": nncf.QuantizationPreset.MIXED}}
    if any(node.op_type == "Softmax" for node in model.graph.node[:-2]):
        settings["nncf-transformer"] = {"model_type": nncf.ModelType.TRANSFORMER}
    for label, chosen in settings.items():
        onnx.save(nncf.quantize(model, dataset, subset_size=int(count), **chosen), str(Path(folder) / f"{label}.onnx"))


if __name__ == "__main__":
    main()
