"""The task that runs an artifact's model on one example with parts of it hidden.

Recorded examples stand for what is not shown. They are read here, so those of an encrypted artifact lie on no disk.
"""

from __future__ import annotations

from typing import Any

from deploykit.artifacts.golden import opened_at
from deploykit.artifacts.predictor import Predictor
from deploykit.measuring.attribution.work import attribute_in, load
from deploykit.sandbox.task import Report


def attribute(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Run the model of an artifact; see `deploykit.measuring.attribution.work.attribute`.

    Args:
        arguments: ``artifact``, its folder, and ``key``, "" if it is not encrypted; ``background`` (``.npz``), empty
            for the recorded examples.
        report: Progress in masks.
    """
    artifact = opened_at(arguments)
    with artifact.opened() as files:
        predictor = Predictor.open(files)
        background = load(arguments["background"]) or predictor.prepare(files.golden()[0])
        found = attribute_in(
            predictor.session, artifact.manifest.contract, predictor.batch_size, background, arguments, report
        )
        predictor.session.close()
    return found
