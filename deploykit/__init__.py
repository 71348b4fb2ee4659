"""deploykit: from a trained model to the cheapest served artifact that still does its job, with evidence.

Importing the package loads nothing heavy: public names are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from deploykit._version import __version__

if TYPE_CHECKING:
    from deploykit_widgets import Workbench

    from deploykit.artifacts.artifact import Artifact
    from deploykit.core import errors
    from deploykit.core.candidate import Candidate, Recipe, Step, Target
    from deploykit.core.contract import Contract
    from deploykit.core.errors import DeploykitError, GoalMissed
    from deploykit.core.model import Model
    from deploykit.core.notebook import check_parameters
    from deploykit.core.space import Space
    from deploykit.data.dataset import Dataset
    from deploykit.data.preprocess import Preprocess
    from deploykit.exporters._export import export
    from deploykit.exporters._verify import verify
    from deploykit.loading._load import load
    from deploykit.measuring.doctor import doctor
    from deploykit.planning.examination import examine
    from deploykit.planning.preview import plan
    from deploykit.reporting.comparison import compare_reports
    from deploykit.reporting.evidence.sensitivity import Sensitivity
    from deploykit.reporting.report import Report
    from deploykit.serving.server import serve
    from deploykit.sweeping.build import build
    from deploykit.sweeping.clean import clean
    from deploykit.sweeping.run import start_sweep, sweep
    from deploykit.sweeping.sensitivity import sensitivity, start_sensitivity

__all__ = [
    "Artifact",
    "Candidate",
    "Contract",
    "Dataset",
    "DeploykitError",
    "GoalMissed",
    "Model",
    "Preprocess",
    "Recipe",
    "Report",
    "Sensitivity",
    "Space",
    "Step",
    "Target",
    "Workbench",
    "__version__",
    "build",
    "check_parameters",
    "clean",
    "compare_reports",
    "doctor",
    "errors",
    "examine",
    "export",
    "load",
    "plan",
    "sensitivity",
    "serve",
    "start_sensitivity",
    "start_sweep",
    "sweep",
    "verify",
]

_HOMES = {
    "Artifact": "deploykit.artifacts.artifact",
    "Candidate": "deploykit.core.candidate",
    "Contract": "deploykit.core.contract",
    "Dataset": "deploykit.data.dataset",
    "DeploykitError": "deploykit.core.errors",
    "GoalMissed": "deploykit.core.errors",
    "Model": "deploykit.core.model",
    "Preprocess": "deploykit.data.preprocess",
    "Recipe": "deploykit.core.candidate",
    "Report": "deploykit.reporting.report",
    "Sensitivity": "deploykit.reporting.evidence.sensitivity",
    "Space": "deploykit.core.space",
    "Step": "deploykit.core.candidate",
    "Target": "deploykit.core.candidate",
    "Workbench": "deploykit_widgets",
    "build": "deploykit.sweeping.build",
    "check_parameters": "deploykit.core.notebook",
    "clean": "deploykit.sweeping.clean",
    "compare_reports": "deploykit.reporting.comparison",
    "doctor": "deploykit.measuring.doctor",
    "examine": "deploykit.planning.examination",
    "export": "deploykit.exporters._export",
    "load": "deploykit.loading._load",
    "plan": "deploykit.planning.preview",
    "sensitivity": "deploykit.sweeping.sensitivity",
    "serve": "deploykit.serving.server",
    "start_sensitivity": "deploykit.sweeping.sensitivity",
    "start_sweep": "deploykit.sweeping.run",
    "sweep": "deploykit.sweeping.run",
    "verify": "deploykit.exporters._verify",
}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module("deploykit.core.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'deploykit' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
