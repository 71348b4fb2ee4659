"""``dk.check_skew``: what clients send beside what the model was measured on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploykit.artifacts.artifact import Artifact
from deploykit.core.errors import SettingError
from deploykit.monitoring import skew
from deploykit.monitoring.skew import Skew
from deploykit.serving.profiles import profile_of


def check_skew(artifact: Artifact | str | Path, x: Any) -> tuple[Skew, ...]:
    """Compare a sample of what clients send with the data that a model was measured on.

    It finds what changes answers without an error: values that were not divided by 255, or twice, another unit, BGR in
    place of RGB, channels first, inverted images, missing values, text where numbers should be.

    Args:
        artifact: What `export` returned, or its folder.
        x: Raw examples as clients send them, batch first: an array, or a dictionary by input name.

    Returns:
        What seems to be wrong, gravest first for each input; empty when nothing does.

    Raises:
        SettingError: The artifact holds no profile, or there are several inputs and one array.

    Example:
        >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
        >>> artifact = dk.export(built, "exported/compared", overwrite=True)
        >>> dk.check_skew(artifact, data.sample(100))
        ()
    """
    import numpy as np

    opened = Artifact.of(artifact)
    profile = profile_of(opened)
    if profile is None:
        raise SettingError(
            f"{opened.path} holds no profile of the data it was measured on.",
            remedy="export it again, from data with at least 40 evaluation examples.",
        )
    names = [spec.name for spec in opened.manifest.inputs]
    if not isinstance(x, Mapping) and len(names) != 1:
        raise SettingError(
            f"The model takes {len(names)} inputs: {', '.join(names)}; got one array.", remedy="give a dictionary."
        )
    given = x if isinstance(x, Mapping) else {names[0]: x}
    return skew.check_skew(profile, {str(name): np.asarray(array) for name, array in given.items()})
