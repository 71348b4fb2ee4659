"""TensorFlow with Keras 2, which TensorFlow Model Optimization needs: there ``tf.keras`` is not Keras 3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from deploykit.sandbox.groups._contract import ImportGroup
from deploykit.sandbox.groups.tensorflow import WithTensorFlow


class WithTfKeras(ImportGroup):
    """TensorFlow Model Optimization and what it works on."""

    name = "tf_keras"
    label = "TensorFlow with tf_keras"
    help = "TensorFlow Model Optimization, which takes tf_keras models."
    extra = "tensorflow"
    requires = ("tensorflow", "keras", "tf_keras", "tensorflow_model_optimization")
    modules = (*WithTensorFlow.modules, "tf_keras", "tensorflow_model_optimization")
    environment: ClassVar[Mapping[str, str]] = {**WithTensorFlow.environment, "TF_USE_LEGACY_KERAS": "1"}
    defaults = WithTensorFlow.defaults
    costs = replace(WithTensorFlow.costs, start_s=5.0, step=(15.0, 8000), build_s=(2.0, 0.05), calibrate=(5.0, 2e-4))


ADAPTER = WithTfKeras()
