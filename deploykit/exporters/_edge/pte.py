"""PyTorch's programs for phones and boards: the file that ExecuTorch runs, lowered to XNNPACK and compared first."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from deploykit.core.candidate import Target
from deploykit.core.errors import ExportError
from deploykit.exporters._contract import Draft
from deploykit.exporters._files import copy_model
from deploykit.exporters._texts import readme
from deploykit.measuring.exportable import Exportable
from deploykit.runtimes._compile import COMPILED, CompileJob
from deploykit.runtimes._contract import RUNTIMES, runtimes_for
from deploykit.runtimes.executorch import ADAPTER as EXECUTORCH
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Report, Task

#: Largest difference from the program that it was lowered from, as a share of the answers' spread.
_ALLOWED = 1e-4
_EXAMPLES, _TIMEOUT_S = 8, 900.0
_RUN = '''\
"""Run model.pte on raw arrays: python python/run.py examples/0-in0.bin …  (pip install executorch)."""

import sys
from pathlib import Path

import numpy as np
import torch
from executorch.runtime import Runtime

INPUTS = {inputs!r}
method = Runtime.get().load_program(str(Path(__file__).parents[1] / "model.pte")).load_method("forward")
given = [np.fromfile(file, dtype).reshape(shape) for file, (shape, dtype) in zip(sys.argv[1:], INPUTS, strict=True)]
for place, value in enumerate(method.execute([torch.from_numpy(array) for array in given])):
    print(f"{{place}}: {{' '.join(map(str, value.flatten().tolist()))}}")
'''
_README = """\
## Run it

`model.pte` is the program for ExecuTorch, lowered to XNNPACK for one example at a time. It takes **prepared** examples:
`examples/N-inK.bin` is golden example N of input K as the program takes it, in the machine's byte order, and
`examples/N-outK.bin` what PyTorch answers; the program's own answers were within {difference:.1g} of their spread.

- **Python**: `pip install executorch`, then `python python/run.py{arguments}`.
- **Android, iOS, C++**: load `model.pte` with ExecuTorch's `Module` and call `forward`; link the XNNPACK backend.

`model.pt2` is the program that it was lowered from: `deploykit verify .` checks it, and `deploykit serve .` serves it.
"""


def write(candidate: Exportable, draft: Draft, folder: Path) -> str:
    """Write ``model.pt2``, ``model.pte``, ``examples/``, ``python/run.py`` and ``README.md``.

    Raises:
        MissingExtraError: ExecuTorch is not installed.
        UnsupportedModelError: ExecuTorch cannot lower the program.
        ExportError: The lowered program answers something else.
    """
    EXECUTORCH.check_installed()
    model = f"model{candidate.path.suffix}"
    copy_model(candidate.path, folder / model)
    (folder / "examples").mkdir()
    names = [spec.name for spec in draft.file_inputs]
    given = draft.examples[:_EXAMPLES]
    for number, example in enumerate(given):
        for place, name in enumerate(names):
            (folder / "examples" / f"{number}-in{place}.bin").write_bytes(example[name].tobytes())
    inputs = [(given[0][name].shape, given[0][name].dtype.name) for name in names]
    task = Task(
        "deploykit.exporters._edge.pte:lower",
        {"path": str(candidate.path), "format": candidate.format, "folder": str(folder), "inputs": inputs,
         "names": names, "count": len(given)},
        EXECUTORCH.group, _TIMEOUT_S, fresh=True, name="lowering for ExecuTorch",
    )  # fmt: skip
    difference = float(shared().run(task)["difference"])
    if not difference <= _ALLOWED:
        raise ExportError(
            f"The program that ExecuTorch made of {candidate.path.name} answers something else: it differs by "
            f"{difference:.2g} of the answers' spread, {_ALLOWED:g} is allowed.",
            remedy="export the ONNX or TFLite candidate instead.",
        )
    (folder / "python").mkdir()
    (folder / "python" / "run.py").write_text(_RUN.format(inputs=inputs), "utf-8")
    arguments = "".join(f" examples/0-in{place}.bin" for place in range(len(names)))
    said = _README.format(difference=difference, arguments=arguments)
    (folder / "README.md").write_text(readme(candidate, draft, said), "utf-8")
    return model


def lower(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: lower a program, and run it and PyTorch on the examples.

    Args:
        arguments: ``path format folder``; ``inputs`` and ``names``: shapes, types and names; ``count`` of the examples.
        report: Not used.

    Returns:
        ``difference``: the largest between both, as a share of the answers' spread.
    """
    import numpy as np

    folder, source = Path(arguments["folder"]), Path(arguments["path"])
    (peer,) = runtimes_for(arguments["format"])[:1]
    runtime = RUNTIMES.get(EXECUTORCH.name)
    worst = 0.0
    with tempfile.TemporaryDirectory(prefix="deploykit-") as scratch:
        job = CompileJob(source, Path(scratch) / COMPILED, arguments["format"], "cpu")
        runtime.compile(job)
        own = runtime.open(job.target, Target(runtime.name), COMPILED)
        theirs = peer.open(source, Target(peer.name), arguments["format"])
        for number in range(arguments["count"]):
            given = {
                name: np.fromfile(folder / "examples" / f"{number}-in{place}.bin", dtype).reshape(shape)
                for place, (name, (shape, dtype)) in enumerate(
                    zip(arguments["names"], arguments["inputs"], strict=True)
                )
            }
            found, expected = own.predict(given), theirs.predict(given)
            for place, (one, other) in enumerate(zip(found.values(), expected.values(), strict=True)):
                (folder / "examples" / f"{number}-out{place}.bin").write_bytes(other.tobytes())
                spread = float(other.max() - other.min()) or 1.0
                worst = max(worst, float(np.abs(one.astype(np.float64) - other).max()) / spread)
        shutil.copyfile(job.target / "model.pte", folder / "model.pte")
    return {"difference": worst}
