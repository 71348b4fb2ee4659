"""What is known to be wrong with a combination before any work is done."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from deploykit.core.layers.kinds import LIGHT, LayerKind
from deploykit.core.model import Model
from deploykit.core.serial import Plain

#: ``impossible``: it is left out; ``pointless``: it can be done, and will not be faster or better than what is cheaper;
#: ``note``: worth knowing.
Severity = Literal["impossible", "pointless", "note"]
#: What techniques do to an artifact that decides which kernels a runtime has for it: ``int8``: activations ahead of
#: time; ``signed``: int8 and not uint8 activations; ``qoperator``: integer operators in the file; ``dynamic conv``:
#: convolutions whose activations are quantized on the fly; ``narrow``: weights of 7 bits; ``float16``, ``bfloat16``:
#: weights of that type; ``sparse``: single zeros among the weights, which take as long as other numbers where no kernel
#: skips them; ``quantized``: numbers of fewer bits instead of float32, integers or not; ``fully quantized``: no layer
#: is left for another quantizer; ``smaller``: there are fewer weights than before; ``shared values``: weights have few
#: different values, in float as before, which take as long as other numbers; ``integer products``: products of int8
#: matrices as TensorFlow has them, which TFLite has not; ``rescaled``: channels have other scales than the original's;
#: ``int16``: as int8, with 16 bits; ``trained``: weights have learned something since; ``compiled``: the file asks its
#: runtime to compile it where it runs.
Effect = Literal[
    "int8", "signed", "qoperator", "dynamic conv", "narrow", "float16", "bfloat16", "sparse", "quantized",
    "fully quantized", "smaller", "shared values", "integer products", "rescaled", "int16", "trained", "compiled",
]  # fmt: skip

#: How int8 comes in a file: pairs of quantizing and dequantizing nodes with uint8 or int8 activations, integer
#: operators, or activations that are quantized on the fly (``dynamic``); ``float32`` to compare with.
Form = Literal["float32", "uint8", "uint8 operators", "int8", "int8 operators", "dynamic"]

#: What files of a form hold, in words.
FORMS: dict[Form, str] = {
    "uint8": "convolutions with uint8 activations",
    "int8": "convolutions with int8 activations",
    "uint8 operators": "integer convolutions with uint8 activations",
    "int8 operators": "integer convolutions with int8 activations",
    "dynamic": "dynamically quantized convolutions",
}

_X86 = frozenset({"x86_64", "amd64", "i386", "i686"})
_DOT_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})
#: Times as long as float32 from which on a kernel is slow; less may be noise of a busy machine.
_SLOW = 1.3


@dataclass(frozen=True)
class Problem(Plain):
    """A reason against a combination."""

    severity: Severity
    reason: str


@dataclass(frozen=True)
class Kernel(Plain):
    """How a runtime computes a convolution on this CPU, as a tiny model has shown.

    Attributes:
        kernel: What the runtime tells of the kernel.
        precision: What it computes in: ``"int8"``, ``"float32"``, …
        slowdown: Time with what int8 needs around it, divided by the time in float32.
    """

    kernel: str
    precision: str
    slowdown: float

    @property
    def slow(self) -> bool:
        """Whether it takes so much longer than float32 that no model can gain from it."""
        return self.slowdown > _SLOW


def _unknown(_runtime: str) -> Mapping[Form, Kernel]:
    return {}


@dataclass(frozen=True)
class Facts:
    """What a combination is judged by.

    Attributes:
        model: The original model.
        calibration_examples: Examples that calibrate a quantizer; 0 when there are no data.
        machine: Processor architecture.
        features: CPU features, see `deploykit.measuring.environment.cpu_features`; empty when they are not known.
        cores: Cores that may be used.
        kernels: Asks a runtime, by its name, for its kernels on this machine by form; empty when they are not known.
        carries: Whether the model carries a state from step to step.
    """

    model: Model
    calibration_examples: int
    machine: str
    features: tuple[str, ...]
    cores: int
    kernels: Callable[[str], Mapping[Form, Kernel]] = _unknown
    carries: bool = False

    @classmethod
    def of(cls, model: Model) -> Facts:
        """What is known of a model alone, whatever the data and the machine."""
        return cls(model, 0, "", (), 1)

    @property
    def x86(self) -> bool:
        """Whether the processor is an x86."""
        return self.machine.lower() in _X86

    @property
    def lacks_dot_products(self) -> bool:
        """Whether the processor is known to have no instructions for products of 8-bit numbers."""
        return bool(self.features) and _DOT_PRODUCTS.isdisjoint(self.features)

    @property
    def batch_size(self) -> int:
        """The model's fixed batch size, 0 when it is free."""
        return next((spec.batch_size for spec in self.model.inputs if spec.batch_size), 0)

    @cached_property
    def weights(self) -> dict[LayerKind, int]:
        """Weights by kind of layer, light ones left out; empty when they are not known."""
        found: dict[LayerKind, int] = {}
        for layer in self.model.layers:
            if layer.parameters and layer.kind not in LIGHT:
                found[layer.kind] = found.get(layer.kind, 0) + layer.parameters
        return found

    def share(self, *kinds: LayerKind) -> float:
        """Share of the weights in layers of these kinds; 0 when it is not known."""
        total = sum(self.weights.values())
        return sum(self.weights.get(kind, 0) for kind in kinds) / total if total else 0.0


def form_of(effects: Collection[Effect]) -> Form | None:
    """The form in which techniques leave convolutions, None when they leave them in float."""
    if "dynamic conv" in effects:
        return "dynamic"
    if "int8" not in effects:
        return None
    if "qoperator" in effects:
        return "int8 operators" if "signed" in effects else "uint8 operators"
    return "int8" if "signed" in effects else "uint8"


def slow_kernels(runtime: str, effects: Collection[Effect], kernels: Mapping[Form, Kernel]) -> Iterator[Problem]:
    """What a runtime was seen to do on this CPU with files of the form that the effects give.

    Args:
        runtime: Its label.
        effects: What techniques would have done to the file.
        kernels: What it was seen to do.
    """
    form = form_of(effects)
    kernel = kernels.get(form) if form else None
    if form is None or kernel is None:
        return
    words, seen = FORMS[form], f"kernel {kernel.kernel}, seen on this CPU"
    if kernel.precision.startswith(("float", "bf")):
        yield Problem("pointless", f"{runtime} computes {words} in {kernel.precision} here ({seen})")
    elif kernel.slow:
        times = f"×{kernel.slowdown:.1f} the time of float32"
        yield Problem("pointless", f"{words} take {times} in {runtime} here ({seen})")


def worst(problems: Iterable[Problem]) -> Severity | None:
    """The gravest severity, None when there is no problem."""
    found = {problem.severity for problem in problems}
    order: tuple[Severity, ...] = ("impossible", "pointless", "note")
    return next((severity for severity in order if severity in found), None)
