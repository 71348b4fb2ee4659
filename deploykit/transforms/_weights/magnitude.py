"""The settings of magnitude pruning, and which of them go together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from deploykit.core.errors import SettingError
from deploykit.core.parameter import Parameter
from deploykit.core.problem import Problem
from deploykit.surgery import selection
from deploykit.transforms._contract import TransformJob
from deploykit.transforms._weights.settings import SMALL_LAYERS

PARAMETERS = (
    Parameter(
        "sparsity", "float", 0.5, "Share of each layer's weights that become zero.", minimum=0.0, maximum=0.99,
        step=0.05, unit="share", shown=True,
    ),
    Parameter(
        "scope", "choice", "layer",
        "layer: the same share of every layer; global: the smallest weights of all layers together.",
        choices=("layer", "global"), binding=True,
    ),
    Parameter(
        "threshold", "float", None, "Set weights below this size to zero, instead of a share of them.",
        minimum=0.0, binding=True, replaces="sparsity",
    ),
    Parameter(
        "pattern", "choice", "unstructured",
        "N:M keeps the largest N of every M input channels at each place of a kernel, as sparse kernels of GPUs "
        "want them; the sparsity is then about 1 − N/M.",
        choices=("unstructured", "1:2", "1:4", "2:4", "4:8"), binding=True, replaces="sparsity",
    ),
    Parameter(
        "rounds", "int", 1,
        "Raise the sparsity in so many rounds, along a polynomial, each followed by the epochs of fine-tuning. "
        "With 1, Keras models are fine-tuned while it rises, and ONNX files are pruned without fine-tuning.",
        minimum=1, maximum=20, step=1, binding=True,
    ),
    Parameter(
        "schedule", "choice", "polynomial",
        "Polynomial raises the sparsity step by step; constant prunes all at once and then recovers.",
        choices=("polynomial", "constant"), under="epochs",
    ),
    SMALL_LAYERS,
    Parameter(
        "epochs", "int", 2, "Passes over the training examples, in each round; 0 prunes without fine-tuning.",
        minimum=0, maximum=1000, step=1, unit="epochs",
    ),
    Parameter(
        "batch_size", "int", 64, "Examples per step.", minimum=1, maximum=65536, step=1, unit="examples",
        under="epochs",
    ),
    Parameter(
        "learning_rate", "float", 1e-3,
        "Adam's highest learning rate in fine-tuning: it rises over the first twentieth of the steps, then decays "
        "along a cosine.",
        minimum=1e-7, maximum=1.0, under="epochs",
    ),
    Parameter(
        "train_examples", "int", 4000,
        "Training examples to fine-tune on, sampled in proportion to the classes; 0 uses all.",
        minimum=0, step=1000, unit="examples", under="epochs",
    ),
    selection.setting("layers", "layer types", "stay dense"),
)  # fmt: skip
#: Settings of fine-tuning.
_OF_TRAINING = tuple(p for p in PARAMETERS if "epochs" in (p.name, p.under))


def without_training(parameters: Mapping[str, Any]) -> str:
    """Which settings of training have no effect where weights become zero in one go; "" when there is none."""
    names = [p.name for p in _OF_TRAINING if parameters[p.name] != p.default]
    names = [name for name in names if name != "epochs" or parameters[name]]  # 0 says the same
    if not names:
        return ""
    said = ", ".join(names)
    how = "leave that out" if names == ["schedule"] else "fine-tune with rounds=2 or more, or leave that out"
    return f"ONNX files are pruned in one go, where {said} {'has' if len(names) == 1 else 'have'} no effect: {how}"


def conflict(parameters: Mapping[str, Any]) -> str:
    """Why some settings cannot go together; "" when they can."""
    if parameters.get("pattern", "unstructured") != "unstructured" and parameters.get("threshold") is not None:
        return "pattern and threshold both say which weights go: leave one of them out"
    if parameters.get("scope") == "global" and (
        parameters.get("threshold") is not None or parameters["pattern"] != "unstructured"
    ):
        return 'scope="global" compares shares, and a threshold or pattern is not a share: leave scope out'
    if parameters.get("rounds", 1) > 1 and not parameters["epochs"]:
        return "rounds fine-tune between them, and epochs is 0: raise epochs, or leave rounds out"
    if parameters.get("rounds", 1) > 1 and parameters.get("schedule") == "constant":
        return 'rounds raise the sparsity step by step, and schedule="constant" does not: leave one of them out'
    return ""


def impossible(parameters: Mapping[str, Any]) -> Iterator[Problem]:
    """The same for a plan."""
    if reason := conflict(parameters):
        yield Problem("impossible", reason)


def check(job: TransformJob) -> None:
    """Refuse settings that exclude each other.

    Raises:
        SettingError: They do.
    """
    if reason := conflict(job.parameters or {}):
        said, _, remedy = reason.partition(": ")
        raise SettingError(f"Magnitude pruning: {said}.", remedy=f"{remedy}.")
