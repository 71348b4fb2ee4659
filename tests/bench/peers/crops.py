"""Crops of 13 photographs that Python packages bring, for networks that take 224 × 224 colors.

``x_train`` are crops of the left halves and ``x_test`` of the right ones, scaled as (x − 127)/128. There are no labels.
"""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: The package whose wheel has the photographs, and those of them that show something; two are scikit-learn's.
_PACKAGE = "scikit-image==0.26.0"
_PICTURES = (
    "astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png", "gravel.png",
    "hubble_deep_field.jpg", "motorcycle_left.png", "retina.jpg", "rocket.jpg",
)  # fmt: skip
_COUNTS = {"x_train": 480, "x_test": 320}
_SIDE = 224


def write(target: Path) -> Path:
    """Write the crops, unless they are there."""
    if target.exists():
        return target
    import numpy as np

    rng, found = np.random.default_rng(0), list(_pictures(target.parent))
    crops = {
        name: np.stack([_crop(found[k % len(found)], name == "x_test", rng) for k in range(count)])
        for name, count in _COUNTS.items()
    }
    partial = target.with_name(f"partial-{target.name}")
    np.savez(partial, **crops)
    partial.rename(target)
    return target


def _pictures(folder: Path) -> Iterator[Any]:
    from PIL import Image
    from sklearn.datasets import load_sample_images

    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--only-binary=:all:", "--dest", str(folder), _PACKAGE], check=True)
    (wheel,) = folder.glob("scikit_image-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in _PICTURES:
            yield Image.open(io.BytesIO(archive.read(f"skimage/data/{name}"))).convert("RGB")
    for array in load_sample_images().images:
        yield Image.fromarray(array)


def _crop(picture: Any, right: bool, rng: Any) -> Any:
    """A square of a half of the picture, mirrored half of the time."""
    import numpy as np
    from PIL import Image

    width, height = picture.size
    half = width // 2
    side = int(rng.uniform(0.35, 0.95) * min(height, half))
    top, left = int(rng.integers(0, height - side + 1)), int(rng.integers(0, half - side + 1))
    left += width - half if right else 0
    part = picture.crop((left, top, left + side, top + side)).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    array = (np.asarray(part, np.float32) - 127) / 128
    return array[:, ::-1] if rng.random() < 0.5 else array
