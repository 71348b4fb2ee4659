"""Runs Olive's passes on an ONNX file, each way in a folder of its own; imported by scripts in Olive's environment."""

import copy
import os
from pathlib import Path

os.environ["OLIVE_DISABLE_TELEMETRY"] = "1"  # it reports to a server otherwise

from olive.workflows import run


def run_each(model, ways, folder, **more):
    """Write ``olive-LABEL.onnx`` for each way; those that fail are named at the end, with their errors.

    Args:
        model: The ONNX file.
        ways: Label → passes by name.
        folder: Where the files go.
        **more: Further parts of the configuration.
    """
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
            "passes": passes,
            "host": "here",
            "target": "here",
            "cache_dir": str(output / "cache"),
            "output_dir": str(output / "model"),
            "log_severity_level": 3,
            **more,
        }
        try:
            run(copy.deepcopy(config))  # Olive changes what it is given
            (made,) = (output / "model").rglob("*.onnx")
            made.rename(Path(folder) / f"olive-{label}.onnx")
        except Exception as error:
            failed[label] = f"{type(error).__name__}: {error}"
    if failed:
        raise SystemExit("; ".join(f"{label}: {words}" for label, words in failed.items()))
