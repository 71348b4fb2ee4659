"""What Olive's command line is given to search 22 quantized models of the digit CNN: all of ours it accepts."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path

_HERE = Path(__file__).parent
sys.path.insert(0, str(_HERE))

import environments  # noqa: E402

_OLIVE = ("olive-ai==0.13.0", "requests", "pydantic<2.13", "torch==2.13.0")


def environment(cache: Path) -> Path:
    """The environment that Olive runs in; made once, which takes 2 GB."""
    return environments.made(cache / "olive", [*_OLIVE, f"onnxruntime=={importlib.metadata.version('onnxruntime')}"])


def write_config(path: Path, model: Path, data: Path, output: Path) -> Path:
    """Write the workflow: an exhaustive search over the settings of two passes, and the accuracy of each result.

    Olive joins the type of weights and of activations, and has no s8 QOperator: 3 x 2 x 3 static models, 4 dynamic.
    """
    fixed = {"reduce_range": False, "quant_preprocess": True}
    types = {"precision": ["int8", "uint8"], "per_channel": [False, True]}
    config = {
        "input_model": {"type": "ONNXModel", "model_path": str(model)},
        "systems": {
            "here": {
                "type": "LocalSystem",
                "accelerators": [{"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}],
            }
        },
        "data_configs": [
            _data("calibration", data, "train", 200, 8),
            _data("evaluation", data, "test", 540, 32),
        ],
        "evaluators": {
            "accuracy": {
                "metrics": [
                    {
                        "name": "accuracy",
                        "type": "accuracy",
                        "data_config": "evaluation",
                        "sub_types": [
                            {
                                "name": "accuracy_score",
                                "priority": 1,
                                "metric_config": {"task": "multiclass", "num_classes": 10},
                            }
                        ],
                    }
                ]
            }
        },
        "passes": {
            "quantization": [
                {
                    "type": "OnnxStaticQuantization",
                    "data_config": "calibration",
                    "calibrate_method": "SEARCHABLE_VALUES",
                    "quant_format": "SEARCHABLE_VALUES",
                    "activation_type": "SEARCHABLE_VALUES",
                    **types,
                    **fixed,
                },
                {"type": "OnnxDynamicQuantization", **types, **fixed},
            ]
        },
        "search_strategy": {"execution_order": "joint", "sampler": "sequential"},
        "evaluator": "accuracy",
        "host": "here",
        "target": "here",
        "evaluate_input_model": True,
        "cache_dir": str(output / "cache"),
        "clean_cache": True,
        "output_dir": str(output / "models"),
        "log_severity_level": 3,
    }
    path.write_text(json.dumps(config, indent=1), "utf-8")
    return path


def _data(name: str, data: Path, split: str, count: int, batch: int) -> dict[str, object]:
    return {
        "name": name,
        "type": "DataContainer",
        "user_script": str(_HERE / "olive_data.py"),
        "load_dataset_config": {"type": "digits", "data": str(data), "split": split, "count": count},
        "post_process_data_config": {"type": "best_class"},
        "dataloader_config": {"batch_size": batch, "drop_last": False},
    }
