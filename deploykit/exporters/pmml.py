"""PMML 4.4: a dense network as XML, for engines of rules and scores in databases and on the JVM.

Source: the Data Mining Group's PMML 4.4 (``NeuralNetwork``).
"""

from __future__ import annotations

import math
from pathlib import Path

from deploykit.core.serial import to_plain
from deploykit.exporters._contract import Draft, Exporter
from deploykit.exporters._dense.source import copy_measured, run, single
from deploykit.exporters._texts import readme
from deploykit.measuring.exportable import Exportable

_WRITE = "deploykit.exporters._dense.pmml:write"
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
    place = "exchange"
    help = "Dense networks only (ONNX, SavedModel): PMML 4.4 with preprocessing, beside the measured model."
    accepts = frozenset({"onnx", "saved_model"})
    sample = "matmul_onnx"

    def write(self, candidate: Exportable, draft: Draft, folder: Path) -> str:
        """Write ``model.pmml``, the measured model and ``README.md``.

        Raises:
            ExportError: The network is not a chain of dense layers; names what is not.
        """
        found = single(candidate, draft, folder, "PMML")
        fed = found.fed[0]
        order, channels = fed.table()
        fields = [f"{fed.name}_{number}" for number in range(math.prod(fed.raw_shape))]
        arguments = {
            "target": str(folder / "model.pmml"), "name": draft.name, "fields": fields, "order": order,
            "channels": channels, "steps": to_plain(fed.steps), "outputs": [found.outputs[0].name],
            "classes": [str(c) for c in candidate.data.classes or ()],
        }  # fmt: skip
        made = run(_WRITE, candidate, arguments, "writing PMML")
        model = copy_measured(candidate, draft, folder)
        classes, names = made["classes"], made["names"]
        answers = (
            f"the class `{found.outputs[0].name}` and `probability(CLASS)` for {', '.join(classes[:10])}"
            if classes
            else ", ".join(f"`predicted({name})`" for name in names[:10])
        )
        layers = ", ".join(f"{units} {activation}" for units, activation in made["layers"])
        text = _RUN.format(first=fields[0], last=fields[-1], answers=answers, layers=layers, model=model)
        (folder / "README.md").write_text(readme(candidate, draft, text), encoding="utf-8")
        return model


ADAPTER = Pmml()
