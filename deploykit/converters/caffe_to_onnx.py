"""Caffe to ONNX."""

from __future__ import annotations

from deploykit.converters._contract import Converter, Job
from deploykit.core.extras import require
from deploykit.loading._caffe.net import read_net
from deploykit.loading._caffe.write import write


class CaffeToOnnx(Converter):
    """Writes the layers as ONNX operators, with the sizes that Caffe's rounding gives."""

    name = "caffe_to_onnx"
    label = "Caffe to ONNX"
    help = "Writes the layers as float32 ONNX operators; what has no counterpart is refused by name."
    requires = ("onnx",)
    accepts = "caffe"
    produces = "onnx"

    def _convert(self, job: Job) -> None:
        onnx = require("onnx", "")
        written = write(read_net(job.source))
        model = written.model()
        onnx.save(model, str(job.target))
        inputs, outputs = written.specs()
        ends = [value.name for value in model.graph.output]
        job.named({s.name: s.name for s in inputs}, {s.name: end for s, end in zip(outputs, ends, strict=True)})


ADAPTER = CaffeToOnnx()
