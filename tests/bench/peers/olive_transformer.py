"""Olive's passes for a transformer, in its own environment: ``olive_transformer.py MODEL KIND FOLDER``.

A pass that fails is named at the end, with its error.
"""

import sys

from olive_passes import run_each


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
    run_each(
        model, {label: {f"pass{k}": one for k, one in enumerate(passes)} for label, passes in ways.items()}, folder
    )


if __name__ == "__main__":
    main()
