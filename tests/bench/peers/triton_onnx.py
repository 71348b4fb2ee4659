"""A backend for Triton that runs ONNX models, several requests as one batch.

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
        self._inputs, self._outputs = ([tensor["name"] for tensor in config[what]] for what in ("input", "output"))
        self._joins = config["max_batch_size"] > 0

    def execute(self, requests: list[object]) -> list[object]:
        """Answer the requests of one batch."""
        given = [[triton.get_input_tensor_by_name(one, name).as_numpy() for name in self._inputs] for one in requests]
        if not self._joins:
            return [self._response(self._run(arrays)) for arrays in given]
        found = self._run([np.concatenate(arrays) for arrays in zip(*given, strict=True)])
        ends = np.cumsum([len(arrays[0]) for arrays in given])[:-1]
        return [self._response(parts) for parts in zip(*(np.split(array, ends) for array in found), strict=True)]

    def _run(self, arrays):
        return self._session.run(self._outputs, dict(zip(self._inputs, arrays, strict=True)))

    def _response(self, arrays):
        return triton.InferenceResponse([triton.Tensor(n, a) for n, a in zip(self._outputs, arrays, strict=True)])
