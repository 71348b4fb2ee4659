"""What is known of a model that deploykit did not export, beside what a manifest says of every model."""

from __future__ import annotations

from dataclasses import dataclass, field

from deploykit.core.calling import Calling, Method
from deploykit.core.contract import Contract
from deploykit.core.model import TensorSpec
from deploykit.core.serial import Plain


@dataclass(frozen=True)
class AdoptedSignature(Plain):
    """One function of an adopted model. The other fields are those of a manifest.

    Attributes:
        calling: How it is called.
        method: What it is for.
    """

    calling: Calling
    method: Method
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    contract: Contract
    golden_inputs: str
    golden_outputs: str
    tolerance: float
    batch_dependent: bool = False
    input_names: dict[str, str] = field(default_factory=dict)
    output_names: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Adopted(Plain):
    """An adopted model.

    Attributes:
        signatures: Its functions by name; one by the name of TensorFlow Serving's default where its format has but one.
        chosen: The one that the manifest describes.
        left_out: Functions that cannot be served, and why not.
        recorded: Whether its golden data are recorded requests; if not, inputs were made up.
    """

    signatures: dict[str, AdoptedSignature]
    chosen: str
    left_out: dict[str, str] = field(default_factory=dict)
    recorded: bool = False
