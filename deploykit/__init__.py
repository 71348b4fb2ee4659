"""deploykit: from a trained model to the cheapest served artifact that still does its job, with evidence.

Importing the package loads nothing heavy: public names are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from deploykit._version import __version__

if TYPE_CHECKING:
    from deploykit_widgets import Surface, Workbench

    from deploykit import types
    from deploykit.artifacts.artifact import Artifact
    from deploykit.artifacts.signing import new_key_pair
    from deploykit.artifacts.versions import Versions
    from deploykit.core import errors
    from deploykit.core.candidate import Candidate, Recipe, Step, Target
    from deploykit.core.check import Examined
    from deploykit.core.contract import Contract
    from deploykit.core.errors import DeploykitError, GoalMissed
    from deploykit.core.model import Model
    from deploykit.core.result import Result
    from deploykit.core.security.keys import new_key
    from deploykit.core.settings.notebook import check_parameters
    from deploykit.core.space import Space
    from deploykit.data.dataset import Dataset
    from deploykit.data.preprocess import Preprocess
    from deploykit.data.tokens.tokenizer import Tokenizer
    from deploykit.deploying._deploy import deploy
    from deploykit.deploying._deployment import Deployment
    from deploykit.exporters._export import export
    from deploykit.exporters._verify import Verification, verify
    from deploykit.exporters._watermark import WatermarkCheck, check_watermark
    from deploykit.loading._load import load
    from deploykit.measuring.boxes.answer import DetectedBox, detections
    from deploykit.measuring.devices import DeviceTable, devices
    from deploykit.measuring.doctor import Diagnosis, doctor
    from deploykit.monitoring.skew import Skew
    from deploykit.planning.examination import examine
    from deploykit.planning.plan import Plan
    from deploykit.planning.preview import plan
    from deploykit.reporting.attribution.explanation import Explanation
    from deploykit.reporting.comparison import ReportComparison, compare_reports
    from deploykit.reporting.devices import DeviceRanking, rank_devices
    from deploykit.reporting.evidence.sensitivity import Sensitivity
    from deploykit.reporting.report import Choice, Report
    from deploykit.serving._prepare import ServerCheck
    from deploykit.serving._serve import check_server, serve
    from deploykit.serving.capacity.plan import Capacity
    from deploykit.serving.capacity.run import capacity
    from deploykit.serving.observing.monitor import Monitor, monitor
    from deploykit.serving.observing.skewed import check_skew
    from deploykit.serving.server import Server
    from deploykit.serving.splits import Split
    from deploykit.serving.tuning.run import tune
    from deploykit.serving.tuning.tuning import Tuning
    from deploykit.sweeping.build import BuiltCandidate, build
    from deploykit.sweeping.clean import Cleaned, clean
    from deploykit.sweeping.explain_example import explain_example
    from deploykit.sweeping.run import SweepHandle, start_sweep, sweep
    from deploykit.sweeping.sensitivity import SensitivityHandle, sensitivity, start_sensitivity
    from deploykit.sweeping.synthesize import synthesize
    from deploykit.updating.comparison import Comparison
    from deploykit.updating.gate import compare
    from deploykit.updating.row import UpdateState
    from deploykit.updating.update import update

__all__ = [
    "Artifact",
    "BuiltCandidate",
    "Candidate",
    "Capacity",
    "Choice",
    "Cleaned",
    "Comparison",
    "Contract",
    "Dataset",
    "DeploykitError",
    "Deployment",
    "DetectedBox",
    "DeviceRanking",
    "DeviceTable",
    "Diagnosis",
    "Examined",
    "Explanation",
    "GoalMissed",
    "Model",
    "Monitor",
    "Plan",
    "Preprocess",
    "Recipe",
    "Report",
    "ReportComparison",
    "Result",
    "Sensitivity",
    "SensitivityHandle",
    "Server",
    "ServerCheck",
    "Skew",
    "Space",
    "Split",
    "Step",
    "Surface",
    "SweepHandle",
    "Target",
    "Tokenizer",
    "Tuning",
    "UpdateState",
    "Verification",
    "Versions",
    "WatermarkCheck",
    "Workbench",
    "__version__",
    "build",
    "capacity",
    "check_parameters",
    "check_server",
    "check_skew",
    "check_watermark",
    "clean",
    "compare",
    "compare_reports",
    "deploy",
    "detections",
    "devices",
    "doctor",
    "errors",
    "examine",
    "explain_example",
    "export",
    "load",
    "monitor",
    "new_key",
    "new_key_pair",
    "plan",
    "rank_devices",
    "sensitivity",
    "serve",
    "start_sensitivity",
    "start_sweep",
    "sweep",
    "synthesize",
    "tune",
    "types",
    "update",
    "verify",
]

_HOMES = {
    "Artifact": "deploykit.artifacts.artifact",
    "BuiltCandidate": "deploykit.sweeping.build",
    "Candidate": "deploykit.core.candidate",
    "Capacity": "deploykit.serving.capacity.plan",
    "Choice": "deploykit.reporting.report",
    "Cleaned": "deploykit.sweeping.clean",
    "Comparison": "deploykit.updating.comparison",
    "Contract": "deploykit.core.contract",
    "Dataset": "deploykit.data.dataset",
    "DeploykitError": "deploykit.core.errors",
    "Deployment": "deploykit.deploying._deployment",
    "DetectedBox": "deploykit.measuring.boxes.answer",
    "DeviceRanking": "deploykit.reporting.devices",
    "DeviceTable": "deploykit.measuring.devices",
    "Diagnosis": "deploykit.measuring.doctor",
    "Examined": "deploykit.core.check",
    "Explanation": "deploykit.reporting.attribution.explanation",
    "GoalMissed": "deploykit.core.errors",
    "Model": "deploykit.core.model",
    "Monitor": "deploykit.serving.observing.monitor",
    "Plan": "deploykit.planning.plan",
    "Preprocess": "deploykit.data.preprocess",
    "Recipe": "deploykit.core.candidate",
    "Report": "deploykit.reporting.report",
    "ReportComparison": "deploykit.reporting.comparison",
    "Result": "deploykit.core.result",
    "Sensitivity": "deploykit.reporting.evidence.sensitivity",
    "SensitivityHandle": "deploykit.sweeping.sensitivity",
    "Server": "deploykit.serving.server",
    "ServerCheck": "deploykit.serving._prepare",
    "Skew": "deploykit.monitoring.skew",
    "Space": "deploykit.core.space",
    "Split": "deploykit.serving.splits",
    "Step": "deploykit.core.candidate",
    "Surface": "deploykit_widgets",
    "SweepHandle": "deploykit.sweeping.run",
    "Target": "deploykit.core.candidate",
    "Tokenizer": "deploykit.data.tokens.tokenizer",
    "Tuning": "deploykit.serving.tuning.tuning",
    "UpdateState": "deploykit.updating.row",
    "Verification": "deploykit.exporters._verify",
    "Versions": "deploykit.artifacts.versions",
    "WatermarkCheck": "deploykit.exporters._watermark",
    "Workbench": "deploykit_widgets",
    "build": "deploykit.sweeping.build",
    "capacity": "deploykit.serving.capacity.run",
    "check_parameters": "deploykit.core.settings.notebook",
    "check_server": "deploykit.serving._serve",
    "check_skew": "deploykit.serving.observing.skewed",
    "check_watermark": "deploykit.exporters._watermark",
    "clean": "deploykit.sweeping.clean",
    "compare": "deploykit.updating.gate",
    "compare_reports": "deploykit.reporting.comparison",
    "deploy": "deploykit.deploying._deploy",
    "detections": "deploykit.measuring.boxes.answer",
    "devices": "deploykit.measuring.devices",
    "doctor": "deploykit.measuring.doctor",
    "examine": "deploykit.planning.examination",
    "explain_example": "deploykit.sweeping.explain_example",
    "export": "deploykit.exporters._export",
    "load": "deploykit.loading._load",
    "monitor": "deploykit.serving.observing.monitor",
    "new_key": "deploykit.core.security.keys",
    "new_key_pair": "deploykit.artifacts.signing",
    "plan": "deploykit.planning.preview",
    "rank_devices": "deploykit.reporting.devices",
    "sensitivity": "deploykit.sweeping.sensitivity",
    "serve": "deploykit.serving._serve",
    "start_sensitivity": "deploykit.sweeping.sensitivity",
    "start_sweep": "deploykit.sweeping.run",
    "sweep": "deploykit.sweeping.run",
    "synthesize": "deploykit.sweeping.synthesize",
    "tune": "deploykit.serving.tuning.run",
    "update": "deploykit.updating.update",
    "verify": "deploykit.exporters._verify",
}

_MODULES = {"errors": "deploykit.core.errors", "types": "deploykit.types"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name not in _HOMES:
        raise AttributeError(f"module 'deploykit' has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        from deploykit.core.extras import explained

        if (said := explained(error)) is None:
            raise
        raise said from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
