"""What a model answers to some examples, asked in a child process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploykit.artifacts.artifact import Artifact
from deploykit.artifacts.predictor import Predictor, open_session
from deploykit.core.candidate import Target
from deploykit.core.contract import Contract
from deploykit.core.security.keys import Key
from deploykit.core.serial import from_plain
from deploykit.data.preprocess import Preprocess
from deploykit.sandbox.task import Report


def ask(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: run a model on raw examples.

    Args:
        arguments: ``inputs``: ``name``, ``dtype``, ``shape`` and ``values`` of the one input; and either ``artifact``,
            a folder, and its ``key``, "" if it is not encrypted; or ``path format target contract preprocess`` of a
            file.
        report: Not used.

    Returns:
        ``outputs`` by name, batch first, as lists.
    """
    import numpy as np

    given = arguments["inputs"]
    raw = {given["name"]: np.asarray(given["values"], given["dtype"]).reshape(given["shape"])}
    if "artifact" in arguments:
        artifact = Artifact.open(arguments["artifact"], Key.of_text(arguments["key"]) if arguments["key"] else None)
        with artifact.opened() as files:
            found = Predictor.open(files)(raw)
    else:
        target, contract = Target.from_json(arguments["target"]), Contract.from_json(arguments["contract"])
        session = open_session(Path(arguments["path"]), target, arguments["format"], contract)
        found = Predictor(session, from_plain(dict[str, Preprocess], arguments["preprocess"]))(raw)
    return {"outputs": {name: array.tolist() for name, array in found.items()}}
