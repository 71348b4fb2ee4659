"""The plain script a user of onnxruntime.quantization would write: 24 static models, 4 dynamic ones, and float32.

``python ort_script.py MODEL DATA FOLDER [--cache]`` quantizes MODEL, computes the accuracy of each file on ``x_test``
of DATA, and prints JSON: seconds of imports, of quantization and of accuracy, and one row a model. With ``--cache``
the calibration of a method is kept in a file and read again (``calibration_cache_path``).
"""

import time

begin = time.perf_counter()

import itertools  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import onnxruntime as ort  # noqa: E402
from onnxruntime.quantization import (  # noqa: E402
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: E402

imported = time.perf_counter()

CALIBRATION_EXAMPLES = 200
CALIBRATION_BATCH = 8
EVALUATION_BATCH = 32


class Reader(CalibrationDataReader):
    """Calibration batches; they can be read in strides, so that the outputs of one batch are held at a time."""

    def __init__(self, name, images):
        self.batches = [
            {name: images[i : i + CALIBRATION_BATCH]}
            for i in range(0, len(images) - CALIBRATION_BATCH + 1, CALIBRATION_BATCH)
        ]
        self.set_range(0, len(self.batches))

    def __len__(self):
        return len(self.batches)

    def set_range(self, start_index, end_index):
        self.left = iter(self.batches[start_index:end_index])

    def get_next(self):
        return next(self.left, None)


def accuracy(path, images, labels):
    """Share of images whose most probable class is right."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    hits = 0
    for i in range(0, len(images), EVALUATION_BATCH):
        (found,) = session.run(None, {name: images[i : i + EVALUATION_BATCH]})
        hits += int((found.argmax(1) == labels[i : i + EVALUATION_BATCH]).sum())
    return hits / len(images)


def main():
    """Quantize, evaluate, print."""
    model, data, folder = (Path(argument) for argument in sys.argv[1:4])
    cache = "--cache" in sys.argv
    folder.mkdir(parents=True, exist_ok=True)
    with np.load(data) as file:
        train, images, labels = file["x_train"][:CALIBRATION_EXAMPLES], file["x_test"], file["y_test"]
    spent = {"quantization": 0.0, "accuracy": 0.0}
    rows = []

    def evaluate(label, path):
        start = time.perf_counter()
        rows.append({"label": label, "accuracy": accuracy(path, images, labels), "bytes": path.stat().st_size})
        spent["accuracy"] += time.perf_counter() - start

    evaluate("float32", model)
    start = time.perf_counter()
    prepared = folder / "prepared.onnx"
    quant_pre_process(str(model), str(prepared))
    name = ort.InferenceSession(str(prepared), providers=["CPUExecutionProvider"]).get_inputs()[0].name
    spent["quantization"] += time.perf_counter() - start
    for form, kind, per_channel, method in itertools.product(
        QuantFormat, (QuantType.QUInt8, QuantType.QInt8), (False, True),
        (CalibrationMethod.MinMax, CalibrationMethod.Entropy, CalibrationMethod.Percentile),
    ):  # fmt: skip
        label = f"{form.name}-{kind.name}-{per_channel}-{method.name}"
        start = time.perf_counter()
        quantize_static(
            str(prepared),
            str(folder / f"{label}.onnx"),
            Reader(name, train),
            quant_format=form,
            per_channel=per_channel,
            activation_type=kind,
            weight_type=QuantType.QInt8,
            calibrate_method=method,
            extra_options={"CalibStridedMinMax": 1},
            **({"calibration_cache_path": str(folder / f"{method.name}.json")} if cache else {}),
        )
        spent["quantization"] += time.perf_counter() - start
        evaluate(label, folder / f"{label}.onnx")
    for per_channel, convolutions in itertools.product((False, True), repeat=2):
        label = f"dynamic-{per_channel}-{convolutions}"
        start = time.perf_counter()
        quantize_dynamic(
            str(prepared),
            str(folder / f"{label}.onnx"),
            op_types_to_quantize=None if convolutions else ["MatMul", "Gemm"],
            per_channel=per_channel,
            weight_type=QuantType.QInt8,
        )
        spent["quantization"] += time.perf_counter() - start
        evaluate(label, folder / f"{label}.onnx")
    seconds = {"imports": imported - begin, **spent, "work": time.perf_counter() - imported}
    sys.stdout = sys.__stdout__
    print("\n" + json.dumps({"seconds": seconds, "rows": rows}))


if __name__ == "__main__":
    main()
