"""The task that synthesizes inputs in a child process: it reads the model and no data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploykit.converters._contract import Job
from deploykit.core.contract import Contract
from deploykit.sandbox.task import Report
from deploykit.training.synthesis import batchnorm, generator
from deploykit.training.synthesis.ranges import Form
from deploykit.training.synthesis.subject import subject_of

#: What makes inputs; ``auto``: by statistics where the model has some.
METHODS = {"batchnorm": batchnorm.made, "generator": generator.made}


def synthesize(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Make inputs and write one ``.npy`` file for each input into a folder.

    Args:
        arguments: ``path``, ``format``, ``imports`` and ``trusted`` of the model; ``contract``; ``shapes`` of one
            example by input; ``low`` and ``high`` by input, plain, {} when nothing is known; ``method``, ``examples``,
            ``steps`` and ``seed``; ``out``, the folder.
        report: Called with the progress in steps.

    Returns:
        ``method`` and ``notes``.

    Raises:
        UnsupportedModelError: The model cannot be used this way; says why.
    """
    import numpy as np

    out = Path(arguments["out"])
    job = Job(
        Path(arguments["path"]), out / "model", arguments["format"], tuple(arguments["imports"]), arguments["trusted"]
    )
    subject = subject_of(job, Contract.from_json(arguments["contract"]))
    ends = [{name: np.asarray(array, np.float32) for name, array in arguments[end].items()} for end in ("low", "high")]
    forms = {
        name: Form(tuple(shape), ends[0].get(name), ends[1].get(name)) for name, shape in arguments["shapes"].items()
    }
    method = arguments["method"]
    if method == "auto":
        method = "batchnorm" if subject.statistics else "generator"
    found, notes = METHODS[method](
        subject, forms, count=arguments["examples"], steps=arguments["steps"], seed=arguments["seed"], report=report
    )
    for number, name in enumerate(forms):
        np.save(out / f"{number}.npy", found[name], allow_pickle=False)
    return {"method": method, "notes": notes}
