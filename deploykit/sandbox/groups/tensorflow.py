"""TensorFlow with Keras 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from deploykit.sandbox.groups._contract import Costs, ImportGroup


class WithTensorFlow(ImportGroup):
    """TensorFlow and Keras 3 on top of it."""

    name = "tensorflow"
    label = "TensorFlow"
    help = "TensorFlow with Keras 3."
    extra = "tensorflow"
    requires = ("tensorflow", "keras")
    modules = ("numpy", "tensorflow", "keras")
    environment: ClassVar[Mapping[str, str]] = {"KERAS_BACKEND": "tensorflow"}
    defaults: ClassVar[Mapping[str, str]] = {
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TF_ENABLE_ONEDNN_OPTS": "1",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # several children may share a GPU
    }
    costs = Costs(
        start_s=4.0,
        step=(2.5, 200),
        evaluation=(2.0, 5000),
        session=(0.9, 0),
        profile=(1.5, 0),
        open_s=(0.1, 5e-3),
        call_s=(1e-4, 1e-5),
        build_s=(0.3, 0.035),
        calibrate=(20.0, 1e-4),
        memory_bytes=1_000_000_000,  # importing it takes 0.7 GB
    )


ADAPTER = WithTensorFlow()
