"""PMML to ONNX."""

from __future__ import annotations

from deploykit.converters._contract import Converter, Job
from deploykit.core.extras import require
from deploykit.loading._pmml.network import read_network
from deploykit.loading._pmml.run import onnx_model, specs


class PmmlToOnnx(Converter):
    """Writes the layers as matrix products in float32."""

    name = "pmml_to_onnx"
    label = "PMML to ONNX"
    help = "Writes the layers of a neural network as float32 ONNX operators, with the scaling of its inputs."
    requires = ("onnx",)
    accepts = "pmml"
    produces = "onnx"

    def _convert(self, job: Job) -> None:
        network = read_network(job.source)
        model = onnx_model(network)
        require("onnx", "").save(model, str(job.target))
        (given,), (made,) = specs(network)
        job.named({given.name: model.graph.input[0].name}, {made.name: model.graph.output[0].name})


ADAPTER = PmmlToOnnx()
