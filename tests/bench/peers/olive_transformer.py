"""Olive's passes for a transformer, in its own environment: ``olive_transformer.py MODEL KIND FOLDER``.

A pass that fails is named at the end, with its error.
"""

import os
import sys
from pathlib import Path

os.environ["OLIVE_DISABLE_TELEMETRY"] = "1"  # it reports to a server otherwise

from olive.workflows import run


def main() -> None:
    model, kind, folder = sys.argv[1:]
    fusion = {"type": "OrtTransformersOptimization", "model_type": kind, "opt_level": 0, "float16": False}
    dynamic = {"type": "OnnxDynamicQuantization"}
    products = {**dynamic, "op_types_to_quantize": ["MatMul", "Attention", "Gemm"]}
    channels = {**products, "per_channel": True}
    ways = {
        "dynamic": [dynamic],
        "matmul": [products],
        "matmul-channels": [channels],
        "fusion": [fusion],
        "fusion-dynamic": [fusion, dynamic],
        "fusion-matmul": [fusion, products],
        "fusion-matmul-channels": [fusion, channels],
    }
    failed = {}
    for label, passes in ways.items():
        output = Path(folder) / label
        config = {
            "input_model": {"type": "ONNXModel", "model_path": model},
            "systems": {
                "here": {
                    "type": "LocalSystem",
                    "accelerators": [{"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}],
                }
            },
            "passes": {f"pass{k}": settings for k, settings in enumerate(passes)},
            "host": "here",
            "target": "here",
            "cache_dir": str(output / "cache"),
            "output_dir": str(output / "model"),
            "log_severity_level": 3,
        }
        try:
            run(config)
            (made,) = (output / "model").rglob("*.onnx")
            made.rename(Path(folder) / f"olive-{label}.onnx")
        except Exception as error:
            failed[label] = f"{type(error).__name__}: {error}"
    if failed:
        raise SystemExit("; ".join(f"{label}: {words}" for label, words in failed.items()))


if __name__ == "__main__":
    main()
