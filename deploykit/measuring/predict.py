"""Predictions of a candidate's file, computed in a child process."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.data.texts import with_objects, without_objects
from deploykit.measuring.exportable import Exportable
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray


def predict(item: Exportable, x: Any) -> dict[str, NDArray[Any]]:
    """Outputs by name for raw examples, in the order of the original model.

    Args:
        item: The candidate.
        x: Raw examples, batch first; a dictionary by input name for several inputs.
    """
    import numpy as np

    feeds = item.data.prepare(x if isinstance(x, dict) else {item.data.inputs[0]: np.asarray(x)})
    runtime = RUNTIMES.get(item.target.runtime)
    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
        inputs, out = Path(folder, "inputs.npz"), Path(folder, "out.npz")
        np.savez(inputs, **without_objects(feeds))  # type: ignore[arg-type]  # the stub's allow_pickle hides the arrays
        arguments = {
            "path": str(item.path),
            "format": item.format,
            "target": item.target.to_json(),
            "contract": item.data.contract.to_json() if item.data.contract else None,
            "inputs": str(inputs),
            "out": str(out),
        }
        function = "deploykit.measuring.session_work:predict"
        shared().run(
            Task(
                function, arguments, runtime.group, imports=item.model.imports, name="prediction",
                fresh=runtime.fresh_process,
            )
        )  # fmt: skip
        with np.load(out, allow_pickle=False) as file:
            return with_objects({name: file[name] for name in file.files})
