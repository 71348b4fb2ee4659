"""How techniques that train let inputs be changed at random, and for which models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.parameter import Parameter
from deploykit.core.problem import Problem
from deploykit.training.choices import AUGMENTATIONS, NO_CHANGE, NOISE_SNR_DB, WAVES

if TYPE_CHECKING:
    from deploykit.core.model import TensorSpec

#: Names of the settings.
USES = ("augment", "noise_snr")


def parameters(how: str) -> tuple[Parameter, ...]:
    """The settings.

    Args:
        how: What is said of ``augment`` beyond the changes themselves, in sentences.
    """
    return (
        Parameter(
            "augment", "choice", NO_CHANGE,
            "How images or waveforms are changed at random at each step. flip: left and right of images are exchanged "
            "for half of them; crops: a part of at least a quarter, in the size of the whole; mixup: each is laid over "
            "another one. shift: waveforms are moved by up to a tenth of their length; gain: by up to 6 dB louder or "
            f"quieter; noise: with white noise, see noise_snr. {how}",
            choices=AUGMENTATIONS, under="epochs",
        ),
        Parameter(
            "noise_snr", "float", NOISE_SNR_DB,
            "Decibels between a waveform and the noise that augment adds: 0 is as loud as the waveform.",
            minimum=-20.0, maximum=100.0, unit="dB", label="signal to noise",
        ),
    )  # fmt: skip


def unheard(given: Mapping[str, Any]) -> str:
    """Why a power of noise changes nothing, "" when it does something."""
    if given["noise_snr"] == NOISE_SNR_DB or "noise" in given["augment"].split("+"):
        return ""
    return f"noise_snr has no effect with augment={given['augment']}: leave it out, or add noise to augment"


def problems(augment: str, inputs: Sequence[TensorSpec]) -> Iterator[Problem]:
    """Inputs that cannot be changed in this way; those whose shapes are not known are left to training.

    Args:
        augment: The setting.
        inputs: Of the model.
    """
    from deploykit.training.augment import channel_axis, not_images
    from deploykit.training.waves import not_waves, time_axis

    if augment == NO_CHANGE:
        return
    axis, words = (time_axis, not_waves) if augment.split("+")[0] in WAVES else (channel_axis, not_images)
    known = [spec for spec in inputs if spec.shape is not None]
    for spec in known:
        if spec.dtype in ("string", "bool") or axis(spec.shape) is None:
            yield Problem("impossible", words(spec.name, str(spec).partition(": ")[2]))
            return
