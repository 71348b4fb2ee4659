"""The types of what the results of public functions hold, for annotations; each is loaded when it is first used.

Functions return types that are in ``deploykit`` itself. These are in the attributes of what functions return.

Example:
    >>> def fastest(latencies: list[dk.types.Latency]) -> dk.types.Latency:
    ...     return min(latencies, key=lambda latency: latency.p50_ms.value)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deploykit.artifacts.adopted import Adopted, AdoptedSignature
    from deploykit.artifacts.artifact import Manifest, OpenedArtifact
    from deploykit.artifacts.encryption import Encryption
    from deploykit.artifacts.versions import Pointer, Release
    from deploykit.choosing.goals import Decision, Goal
    from deploykit.core.calling import Calling
    from deploykit.core.check import BaselineCheck, Suspicion
    from deploykit.core.class_change import ClassChange
    from deploykit.core.contract import InputMeaning, LabelMeaning, OutputMeaning
    from deploykit.core.decoder import Decoder
    from deploykit.core.detection import Detection
    from deploykit.core.model import Layer, TensorSpec
    from deploykit.core.result import (
        Failure,
        Finding,
        Footprint,
        Interval,
        Judged,
        Latency,
        LayerTime,
        LengthTime,
        Measurement,
        Score,
    )  # fmt: skip
    from deploykit.core.security.keys import Key
    from deploykit.core.security.memory import MemoryFiles
    from deploykit.core.settings.options import SweepOptions
    from deploykit.core.settings.serving import ServingSettings
    from deploykit.core.space import Refine
    from deploykit.data.reading import ClassCounts, Reading
    from deploykit.data.split import Split
    from deploykit.deploying._deployment import DeployCommand
    from deploykit.loading._nodes import GraphNode, NodeWeight
    from deploykit.loading._weights import LayerWeights, TensorFacts
    from deploykit.measuring.devices import DeviceRow, RuntimeState
    from deploykit.measuring.exportable import Exportable
    from deploykit.measuring.graphs.diff import NodeDiff
    from deploykit.monitoring.operation.alarms import Alarm
    from deploykit.monitoring.operation.latency import StageLatency
    from deploykit.monitoring.operation.performance import Performance
    from deploykit.monitoring.operation.resources import Resources
    from deploykit.monitoring.operation.status import ModelStatus, MonitorStatus
    from deploykit.planning.planned import Expected, LeftOut, Planned, Remark
    from deploykit.planning.steps import BuildStep
    from deploykit.reporting.attribution.explained import InputExplanation
    from deploykit.reporting.beside import Changed, Obstacle, Pair
    from deploykit.reporting.devices import RankedDevice
    from deploykit.reporting.events import Progress
    from deploykit.reporting.evidence.by_length import LengthRow, Lengths
    from deploykit.reporting.evidence.calibration import Calibration, CalibrationBin
    from deploykit.reporting.evidence.class_changes import ClassChanges
    from deploykit.reporting.evidence.flips import Flip, FlippedBox, Flips, Guess
    from deploykit.reporting.evidence.graph_diff import GraphDiff
    from deploykit.reporting.evidence.sensitivity import Suggestion
    from deploykit.reporting.evidence.sensitivity_rows import Damage, SensitivityRow
    from deploykit.reporting.evidence.sensitivity_table import Level, SensitivityCell, SensitivityTable
    from deploykit.reporting.evidence.weights import Weights
    from deploykit.reporting.evidence.why import LayerCost, Why
    from deploykit.reporting.verdict import Verdict
    from deploykit.runtimes._contract import Device
    from deploykit.serving.capacity.measured import MeasuredWorker
    from deploykit.serving.capacity.plan import LoadPoint
    from deploykit.serving.capacity.queueing import WorkerSpeed
    from deploykit.serving.traffic import Traffic
    from deploykit.serving.tuning.grid import TuningGrid, TuningPoint
    from deploykit.serving.tuning.rows import TuningRow
    from deploykit.storage.rows import Rows
    from deploykit.trackers._contract import Logged
    from deploykit.updating.comparison import GateCheck, GatePlan, GateSide
    from deploykit.updating.evidence import TrialEvidence

__all__ = [
    "Adopted",
    "AdoptedSignature",
    "Alarm",
    "BaselineCheck",
    "BuildStep",
    "Calibration",
    "CalibrationBin",
    "Calling",
    "Changed",
    "ClassChange",
    "ClassChanges",
    "ClassCounts",
    "Damage",
    "Decision",
    "Decoder",
    "DeployCommand",
    "Detection",
    "Device",
    "DeviceRow",
    "Encryption",
    "Expected",
    "Exportable",
    "Failure",
    "Finding",
    "Flip",
    "FlippedBox",
    "Flips",
    "Footprint",
    "GateCheck",
    "GatePlan",
    "GateSide",
    "Goal",
    "GraphDiff",
    "GraphNode",
    "Guess",
    "InputExplanation",
    "InputMeaning",
    "Interval",
    "Judged",
    "Key",
    "LabelMeaning",
    "Latency",
    "Layer",
    "LayerCost",
    "LayerTime",
    "LayerWeights",
    "LeftOut",
    "LengthRow",
    "LengthTime",
    "Lengths",
    "Level",
    "LoadPoint",
    "Logged",
    "Manifest",
    "MeasuredWorker",
    "Measurement",
    "MemoryFiles",
    "ModelStatus",
    "MonitorStatus",
    "NodeDiff",
    "NodeWeight",
    "Obstacle",
    "OpenedArtifact",
    "OutputMeaning",
    "Pair",
    "Performance",
    "Planned",
    "Pointer",
    "Progress",
    "RankedDevice",
    "Reading",
    "Refine",
    "Release",
    "Remark",
    "Resources",
    "Rows",
    "RuntimeState",
    "Score",
    "SensitivityCell",
    "SensitivityRow",
    "SensitivityTable",
    "ServingSettings",
    "Split",
    "StageLatency",
    "Suggestion",
    "Suspicion",
    "SweepOptions",
    "TensorFacts",
    "TensorSpec",
    "Traffic",
    "TrialEvidence",
    "TuningGrid",
    "TuningPoint",
    "TuningRow",
    "Verdict",
    "Weights",
    "Why",
    "WorkerSpeed",
]

_HOMES = {
    "Adopted": "deploykit.artifacts.adopted",
    "AdoptedSignature": "deploykit.artifacts.adopted",
    "Alarm": "deploykit.monitoring.operation.alarms",
    "BaselineCheck": "deploykit.core.check",
    "BuildStep": "deploykit.planning.steps",
    "Calibration": "deploykit.reporting.evidence.calibration",
    "CalibrationBin": "deploykit.reporting.evidence.calibration",
    "Calling": "deploykit.core.calling",
    "Changed": "deploykit.reporting.beside",
    "ClassChange": "deploykit.core.class_change",
    "ClassChanges": "deploykit.reporting.evidence.class_changes",
    "ClassCounts": "deploykit.data.reading",
    "Damage": "deploykit.reporting.evidence.sensitivity_rows",
    "Decision": "deploykit.choosing.goals",
    "Decoder": "deploykit.core.decoder",
    "DeployCommand": "deploykit.deploying._deployment",
    "Detection": "deploykit.core.detection",
    "Device": "deploykit.runtimes._contract",
    "DeviceRow": "deploykit.measuring.devices",
    "Encryption": "deploykit.artifacts.encryption",
    "Expected": "deploykit.planning.planned",
    "Exportable": "deploykit.measuring.exportable",
    "Failure": "deploykit.core.result",
    "Finding": "deploykit.core.result",
    "Flip": "deploykit.reporting.evidence.flips",
    "FlippedBox": "deploykit.reporting.evidence.flips",
    "Flips": "deploykit.reporting.evidence.flips",
    "Footprint": "deploykit.core.result",
    "GateCheck": "deploykit.updating.comparison",
    "GatePlan": "deploykit.updating.comparison",
    "GateSide": "deploykit.updating.comparison",
    "Goal": "deploykit.choosing.goals",
    "GraphDiff": "deploykit.reporting.evidence.graph_diff",
    "GraphNode": "deploykit.loading._nodes",
    "Guess": "deploykit.reporting.evidence.flips",
    "InputExplanation": "deploykit.reporting.attribution.explained",
    "InputMeaning": "deploykit.core.contract",
    "Interval": "deploykit.core.result",
    "Judged": "deploykit.core.result",
    "Key": "deploykit.core.security.keys",
    "LabelMeaning": "deploykit.core.contract",
    "Latency": "deploykit.core.result",
    "Layer": "deploykit.core.model",
    "LayerCost": "deploykit.reporting.evidence.why",
    "LayerTime": "deploykit.core.result",
    "LayerWeights": "deploykit.loading._weights",
    "LeftOut": "deploykit.planning.planned",
    "LengthRow": "deploykit.reporting.evidence.by_length",
    "LengthTime": "deploykit.core.result",
    "Lengths": "deploykit.reporting.evidence.by_length",
    "Level": "deploykit.reporting.evidence.sensitivity_table",
    "LoadPoint": "deploykit.serving.capacity.plan",
    "Logged": "deploykit.trackers._contract",
    "Manifest": "deploykit.artifacts.artifact",
    "MeasuredWorker": "deploykit.serving.capacity.measured",
    "Measurement": "deploykit.core.result",
    "MemoryFiles": "deploykit.core.security.memory",
    "ModelStatus": "deploykit.monitoring.operation.status",
    "MonitorStatus": "deploykit.monitoring.operation.status",
    "NodeDiff": "deploykit.measuring.graphs.diff",
    "NodeWeight": "deploykit.loading._nodes",
    "Obstacle": "deploykit.reporting.beside",
    "OpenedArtifact": "deploykit.artifacts.artifact",
    "OutputMeaning": "deploykit.core.contract",
    "Pair": "deploykit.reporting.beside",
    "Performance": "deploykit.monitoring.operation.performance",
    "Planned": "deploykit.planning.planned",
    "Pointer": "deploykit.artifacts.versions",
    "Progress": "deploykit.reporting.events",
    "RankedDevice": "deploykit.reporting.devices",
    "Reading": "deploykit.data.reading",
    "Refine": "deploykit.core.space",
    "Release": "deploykit.artifacts.versions",
    "Remark": "deploykit.planning.planned",
    "Resources": "deploykit.monitoring.operation.resources",
    "Rows": "deploykit.storage.rows",
    "RuntimeState": "deploykit.measuring.devices",
    "Score": "deploykit.core.result",
    "SensitivityCell": "deploykit.reporting.evidence.sensitivity_table",
    "SensitivityRow": "deploykit.reporting.evidence.sensitivity_rows",
    "SensitivityTable": "deploykit.reporting.evidence.sensitivity_table",
    "ServingSettings": "deploykit.core.settings.serving",
    "Split": "deploykit.data.split",
    "StageLatency": "deploykit.monitoring.operation.latency",
    "Suggestion": "deploykit.reporting.evidence.sensitivity",
    "Suspicion": "deploykit.core.check",
    "SweepOptions": "deploykit.core.settings.options",
    "TensorFacts": "deploykit.loading._weights",
    "TensorSpec": "deploykit.core.model",
    "Traffic": "deploykit.serving.traffic",
    "TrialEvidence": "deploykit.updating.evidence",
    "TuningGrid": "deploykit.serving.tuning.grid",
    "TuningPoint": "deploykit.serving.tuning.grid",
    "TuningRow": "deploykit.serving.tuning.rows",
    "Verdict": "deploykit.reporting.verdict",
    "Weights": "deploykit.reporting.evidence.weights",
    "Why": "deploykit.reporting.evidence.why",
    "WorkerSpeed": "deploykit.serving.capacity.queueing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'deploykit.types' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
