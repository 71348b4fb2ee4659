"""Reads what a folder holds for TensorFlow Serving with its own messages: MODELS.CONFIG WARMUP → both as JSON."""

import importlib.metadata
import json
import sys
from pathlib import Path

import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

config, warmup = map(Path, sys.argv[1:])
found = text_format.Parse(config.read_text("utf-8"), model_server_config_pb2.ModelServerConfig())
requests = []
for record in tf.data.TFRecordDataset(str(warmup)):
    request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
    inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
    requests.append(
        {
            "model": request.model_spec.name,
            "signature": request.model_spec.signature_name,
            "inputs": {k: v.tolist() for k, v in inputs.items()},
            "dtypes": {k: v.dtype.name for k, v in inputs.items()},
        }
    )
models = [[m.name, m.base_path, m.model_platform] for m in found.model_config_list.config]
version = importlib.metadata.version("tensorflow-serving-api")
print(json.dumps({"models": models, "requests": requests, "version": version}))
