"""An ONNX model behind KServe's SDK, as its documentation writes one."""

import argparse

import numpy as np
import onnxruntime
from kserve import Model, ModelServer, model_server


class OnnxModel(Model):
    """One input, one output."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options)
        self._input = self._session.get_inputs()[0].name
        self.ready = True

    async def predict(self, payload: dict, headers: dict | None = None, response_headers: dict | None = None) -> dict:
        """Run it."""
        (output,) = self._session.run(None, {self._input: np.asarray(payload["instances"], np.float32)})
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[model_server.parser], conflict_handler="resolve")
    parser.add_argument("--model")
    arguments, _ = parser.parse_known_args()
    ModelServer(http_port=arguments.http_port).start([OnnxModel(arguments.model_name, arguments.model)])
