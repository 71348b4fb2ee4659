"""A backend for Triton that runs ONNX models of one input and one output, several requests as one batch.

The wheel of nvidia-pytriton has Triton's server and its Python backend, on which this one is built.
"""

import json
import os
import sys

sys.path.insert(0, os.environ["TRITON_PACKAGES"])
import numpy as np
import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    """What Triton looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the session with one thread."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = os.path.join(args["model_repository"], args["model_version"], "model.onnx")  # noqa: PTH118  as text
        self._session = onnxruntime.InferenceSession(path, options)
        config = json.loads(args["model_config"])
        self._input, self._output = config["input"][0]["name"], config["output"][0]["name"]

    def execute(self, requests: list[object]) -> list[object]:
        """Answer the requests of one batch."""
        given = [triton.get_input_tensor_by_name(request, self._input).as_numpy() for request in requests]
        (found,) = self._session.run(None, {self._input: np.concatenate(given)})
        parts = np.split(found, np.cumsum([len(array) for array in given])[:-1])
        return [triton.InferenceResponse([triton.Tensor(self._output, part)]) for part in parts]
