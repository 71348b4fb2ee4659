"""An ONNX model for MLServer, as its documentation writes one."""

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):
    """One input, one output."""

    async def load(self) -> bool:
        """Open the session with one thread."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(self.settings.parameters.uri, options)
        self._input = self._session.get_inputs()[0].name
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run it."""
        array = np.asarray(NumpyCodec.decode_input(payload.inputs[0]), np.float32)
        (output,) = self._session.run(None, {self._input: array})
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", output)])
