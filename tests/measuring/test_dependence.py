"""Whether an answer depends on the others in its batch, on sessions that are plain arithmetic."""

from collections.abc import Sequence

import numpy as np
import pytest

from deploykit.core.model import TensorSpec
from deploykit.measuring.dependence import depends_on_batch
from deploykit.runtimes._session import Session


class Lengths(Session):
    """Answers with the length of each text, over the largest of the batch when it depends on it."""

    delegate = "cpu"
    inputs = (TensorSpec("text", (None,), "string"),)
    outputs = (TensorSpec("n", (None,), "float32"),)

    def __init__(self, depends):
        self._depends = depends

    def _run(self, arrays: Sequence[np.ndarray]):
        found = np.array([len(v) for v in arrays[0]], np.float32)
        return [found / found.max() if self._depends else found]


@pytest.mark.parametrize("depends", [False, True])
def test_text_and_bytes_are_compared_alone_and_together(depends):
    texts = np.empty(10, object)
    texts[:] = [b"\xff" * (i + 1) for i in range(10)]
    assert depends_on_batch(Lengths(depends), {"text": texts}) is depends
    assert depends_on_batch(Lengths(depends), {"text": np.array(["a" * (i + 1) for i in range(10)])}) is depends
