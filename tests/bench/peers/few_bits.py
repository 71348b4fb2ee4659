"""Other quantizers, as their documentation shows them: each writes files beside the original in a folder.

A function gives what there is to say about files, by their names, such as the errors of those that could not be made.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import smaller


def litert_quantizer(case: smaller.Case, folder: Path, cache: Path) -> dict[str, str]:
    """Its recipes for existing files: dynamic int8 and int4, weights alone, and static int8 with calibration."""
    from ai_edge_litert.interpreter import Interpreter
    from litert_quantizer import quantizer, recipe

    source = folder / "original.tflite"
    signatures = Interpreter(str(source)).get_signature_list()
    ((key, ends),) = signatures.items()
    feeds = {key: [{ends["inputs"][0]: image[None]} for image in case.images("train")[: case.calibration]]}
    wanted = {
        "dynamic": recipe.dynamic_wi8_afp32, "dynamic4": recipe.dynamic_wi4_afp32,
        "weights8": recipe.weight_only_wi8_afp32, "weights4": recipe.weight_only_wi4_afp32,
        "static": recipe.static_wi8_ai8,
    }  # fmt: skip
    told = {}
    for name, make in wanted.items():
        try:
            made = quantizer.Quantizer(str(source), make())
            ranges = made.calibrate(feeds) if made.need_calibration else None
            found = made.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
            (folder / f"litert-quantizer-{name}.tflite").write_bytes(found.quantized_model)
        except Exception as error:  # its own, and what comes out of the interpreter
            told[f"litert-quantizer-{name}.tflite"] = line(error)
    return told


def tensorflow_lite(case: smaller.Case, folder: Path, cache: Path) -> dict[str, str]:
    """The converter's ways: dynamic range, full integers, and float16."""
    import tensorflow as tf

    smaller.tensorflow_lite(case, folder, cache)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
    converter.optimizations, converter.target_spec.supported_types = [tf.lite.Optimize.DEFAULT], [tf.float16]
    (folder / "tflite-half-floats.tflite").write_bytes(converter.convert())
    return {}


def onnx_runtime(case: smaller.Case, folder: Path, cache: Path) -> dict[str, str]:
    """Its quantizers: dynamic, static with QDQ per channel, and matrix products of 4 bits."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    smaller.onnx_runtime(case, folder, cache)
    packer = MatMulNBitsQuantizer(onnx.load(str(folder / "prepared")), bits=4, block_size=32)
    packer.process()
    packer.model.save_model_to_file(str(folder / "onnxruntime-weights4.onnx"))
    return {}


def olive(case: smaller.Case, folder: Path, cache: Path) -> dict[str, str]:
    """Olive's passes, in an environment of its own."""
    smaller.olive(case, folder, cache)
    return {}


def nncf(case: smaller.Case, folder: Path, cache: Path) -> dict[str, str]:
    """NNCF's presets, in an environment of its own."""
    smaller.nncf(case, folder, cache)
    return {}


def line(error: Exception) -> str:
    """The first line of a message, as a row shows it."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"[:300]
