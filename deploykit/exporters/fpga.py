"""FPGAs: an hls4ml project of a dense network, whose C++ was compiled and gave the golden outputs.

Source: hls4ml (Fast Inference of Deep Neural Networks in FPGAs, Duarte et al. 2018), its Vitis backend.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from deploykit.artifacts.golden import value_range
from deploykit.core.errors import ExportError
from deploykit.core.parameter import Parameter
from deploykit.exporters._contract import Draft, Exporter
from deploykit.exporters._dense.fpga import PROJECT
from deploykit.exporters._dense.source import copy_measured, run, single
from deploykit.exporters._texts import readme
from deploykit.measuring.exportable import Exportable

_WRITE = "deploykit.exporters._dense.fpga:write"
_RUN = """\
## Synthesize and simulate it

    cd hls && ./build_lib.sh                 # simulation in C++: firmware/*.so
    cd hls && vitis_hls -f build_prj.tcl     # synthesis, with the vendor's tools

The circuit (`hls/firmware/{project}.cpp`) takes **preprocessed** examples, {inputs} values each.
It gives {outputs}{softmax}.

| | |
|---|---|
| numbers | `ap_fixed<{bits},{integer}>`: {integer} bits before the point, steps of {step:.3g} |
| layers | {layers} |
| strategy | {strategy} |
| largest error that the format explains | {bound:.3g} ({share:.2g} of the range of the answers) |
| **difference of the simulation** on {examples} golden examples | **{difference:.3g}** |

The C++ was compiled with g++ and run on the golden examples; its answers were compared with the network in double
precision. **Nothing was synthesized**: neither area nor timing is known, the vendor's tools were not here. The folder
`hls/tb_data` holds the golden examples for the test bench.

`{model}` is the measured model, which `deploykit verify .` checks and `deploykit serve .` serves.
"""


class Fpga(Exporter):
    """Holds dense networks in ONNX files and SavedModels."""

    name = "fpga"
    label = "FPGA"
    place = "devices"
    help = "Dense networks only (ONNX, SavedModel): an hls4ml project in fixed point, simulated with g++."
    extra = "fpga"
    requires = ("hls4ml",)
    accepts = frozenset({"onnx", "saved_model"})
    sample = "matmul_onnx"
    parameters = (
        Parameter("bits", "int", 16, "Bits of every number of the circuit.", minimum=4, maximum=32),
        Parameter(
            "integer_bits",
            "int",
            None,
            "Bits before the point, with the sign. None: enough for twice what the golden examples reach.",
            minimum=2,
            maximum=31,
        ),
        Parameter("clock_ns", "float", 5.0, "Period of the clock that synthesis aims at.", minimum=0.5, maximum=100.0),
        Parameter("part", "choice", "xcu250-figd2104-2L-e", "The device that synthesis is for.", choices=(
            "xcu250-figd2104-2L-e", "xcvu13p-flga2577-2-e", "xc7z020clg400-1", "xczu7ev-ffvc1156-2-e",
        )),
    )  # fmt: skip

    def write(self, candidate: Exportable, draft: Draft, folder: Path) -> str:
        """Write ``hls/``, the measured model and ``README.md``.

        Raises:
            ExportError: The network is not a chain of dense layers, its values do not fit the format, g++ is missing,
                or the simulation differs by more than the format explains.
        """
        import numpy as np

        found = single(candidate, draft, folder, "hls4ml")
        fed = found.fed[0]
        order, _ = fed.table()
        step = candidate.data.preprocess.get(fed.name)
        raw = draft.golden[fed.name]
        prepared = (step.apply(raw) if step else raw).reshape(len(raw), len(order))
        values = draft.parameters
        with tempfile.TemporaryDirectory() as scratch:
            examples, answers = Path(scratch) / "examples.npy", Path(scratch) / "answers.npy"
            np.save(examples, prepared)
            arguments = {
                "folder": str(folder / "hls"), "bits": values["bits"], "integer_bits": values["integer_bits"] or 0,
                "clock_ns": values["clock_ns"], "part": values["part"], "examples": str(examples),
                "answers": str(answers),
            }  # fmt: skip
            made = run(_WRITE, candidate, arguments, "writing and simulating a circuit")
            simulated = np.load(answers)
        if not made["difference"] <= made["bound"]:
            raise ExportError(
                f"The simulated circuit differs by {made['difference']:.3g} from the network; its fixed-point format "
                f"explains {made['bound']:.3g}: values overflow.",
                remedy="leave out integer_bits, or set more of them.",
            )
        _test_bench(folder / "hls" / "tb_data", prepared, simulated)
        model = copy_measured(candidate, draft, folder)
        text = _RUN.format(
            project=PROJECT,
            inputs=prepared.shape[1],
            outputs="one value" if simulated.shape[1] == 1 else f"{simulated.shape[1]} values",
            softmax=" before the softmax, which is left out: the largest one is the class" if made["softmax"] else "",
            bits=values["bits"],
            integer=made["integer_bits"],
            step=2.0 ** (made["integer_bits"] - int(values["bits"] or 0)),
            layers=", ".join(f"{units} {activation}" for units, activation in made["layers"]),
            strategy=made["strategy"],
            bound=made["bound"],
            share=made["bound"] / value_range(simulated),
            examples=len(prepared),
            difference=made["difference"],
            model=model,
        )
        (folder / "README.md").write_text(readme(candidate, draft, text), encoding="utf-8")
        return model


def _test_bench(folder: Path, examples: Any, answers: Any) -> None:
    """The golden examples as the project's test bench reads them, and what the simulation answers."""
    folder.mkdir(exist_ok=True)
    for name, rows in (("tb_input_features", examples), ("tb_output_predictions", answers)):
        lines = (" ".join(f"{float(v)!r}" for v in row) for row in rows)
        (folder / f"{name}.dat").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


ADAPTER = Fpga()
