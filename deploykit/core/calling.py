"""How a model file is called that deploykit did not make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deploykit.core.serial import Plain

#: What a signature is for, as TensorFlow Serving's clients ask for it.
Method = Literal["predict", "classify", "regress"]


@dataclass(frozen=True)
class Calling(Plain):
    """How a model file is called as it is: with the numbers that it takes, quantized or not.

    Attributes:
        signature: Which of its functions; "" where its format has but one.
        any_shape: Whether examples of other shapes than the declared ones are left to the runtime, as TensorFlow
            Serving leaves them.
    """

    signature: str = ""
    any_shape: bool = False
