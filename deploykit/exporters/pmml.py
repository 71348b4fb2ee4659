"""PMML 4.4: a dense network as XML, for engines of rules and scores in databases and on the JVM.

Source: the Data Mining Group's PMML 4.4 (``NeuralNetwork``).
"""

from __future__ import annotations

import math
from pathlib import Path

from deploykit.artifacts.arrays import load_arrays
from deploykit.converters._contract import CONVERTERS
from deploykit.converters._route import route
from deploykit.core.adapter import Group
from deploykit.core.errors import ExportError, UnsupportedModelError
from deploykit.core.serial import to_plain
from deploykit.exporters._contract import Draft, Exporter
from deploykit.exporters._edge.tensors import tensors
from deploykit.exporters._files import copy_model
from deploykit.exporters._texts import readme
from deploykit.measuring.exportable import Exportable
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task

_WRITE = "deploykit.exporters._pmml.write:write"
_RUN = """\
## Run it

`model.pmml` takes **raw** examples and prepares them itself. Its fields are `{first}` to `{last}`, the values of one
example in order; its answers are {answers}. With JPMML, in Python:

    from jpmml_evaluator import make_evaluator
    evaluator = make_evaluator("model.pmml").verify()
    evaluator.evaluate({{"{first}": 0.0, …}})

Engines compute in double precision, the model in single precision: answers agree to about 1e-6 of their range.

Layers: {layers}.

`{model}` is the measured model, which `deploykit verify .` checks and `deploykit serve .` serves.
"""


class Pmml(Exporter):
    """Holds dense networks in ONNX files and SavedModels."""

    name = "pmml"
    label = "PMML"
    help = "Dense networks only (ONNX, SavedModel): PMML 4.4 with preprocessing, beside the measured model."
    accepts = frozenset({"onnx", "saved_model"})
    sample = "matmul_onnx"

    def write(self, candidate: Exportable, draft: Draft, folder: Path) -> str:
        """Write ``model.pmml``, the measured model and ``README.md``.

        Raises:
            ExportError: The network is not a chain of dense layers; names what is not.
        """
        inputs, outputs = (load_arrays(folder / "golden" / f"{name}.npz") for name in ("inputs", "outputs"))
        found = tensors(candidate, draft, inputs, outputs)
        if len(found.inputs) != 1 or len(found.fed) != 1 or len(found.outputs) != 1:
            raise ExportError(
                f"PMML is written of networks with one input and one output; this one has {len(found.inputs)} and "
                f"{len(found.outputs)}.",
                remedy="export with layout='edge' or layout='folder'.",
            )
        fed = found.fed[0]
        if fed.scale or found.outputs[0].scale:
            raise ExportError(
                "The file takes or gives quantized numbers, which PMML does not have.",
                remedy="choose a candidate with float32 inputs and outputs.",
            )
        order, channels = fed.table()
        fields = [f"{fed.name}_{number}" for number in range(math.prod(fed.raw_shape))]
        way = route(candidate.format, frozenset({"onnx"}), CONVERTERS) or ()
        group: Group = way[0].group if way else "light"
        arguments = {
            "path": str(candidate.path), "format": candidate.format, "imports": list(candidate.model.imports),
            "trusted": candidate.model.trusted, "target": str(folder / "model.pmml"), "name": draft.name,
            "fields": fields, "order": order, "channels": channels, "steps": to_plain(fed.steps),
            "classes": [str(c) for c in candidate.data.classes or ()], "outputs": [found.outputs[0].name],
        }  # fmt: skip
        task = Task(_WRITE, arguments, group=group, imports=candidate.model.imports, name="writing PMML")
        try:
            made = shared().run(task)
        except UnsupportedModelError as error:
            raise ExportError(error.message, remedy=error.remedy) from error
        model = f"model{draft.suffix}" if draft.suffix else "model"
        copy_model(candidate.path, folder / model)
        for name in draft.extra_files:
            copy_model(candidate.path.parent / name, folder / name)
        classes, names = made["classes"], made["names"]
        answers = (
            f"the class `{found.outputs[0].name}` and `probability(CLASS)` for {', '.join(classes[:10])}"
            if classes
            else ", ".join(f"`predicted({name})`" for name in names[:10])
        )
        layers = ", ".join(f"{units} {activation}" for units, activation in made["layers"])
        run = _RUN.format(first=fields[0], last=fields[-1], answers=answers, layers=layers, model=model)
        (folder / "README.md").write_text(readme(candidate, draft, run), encoding="utf-8")
        return model


ADAPTER = Pmml()
