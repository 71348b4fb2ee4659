"""Reading data: every function gives what `Dataset.from_arrays` takes and says what it read, or one clear error."""

from __future__ import annotations

from deploykit.data.sources._arrow import read_parquet, read_saved_dataset
from deploykit.data.sources._audio import read_audio
from deploykit.data.sources._coco import read_coco
from deploykit.data.sources._csv import read_csv
from deploykit.data.sources._images import read_image_folder
from deploykit.data.sources._listing import Columns
from deploykit.data.sources._masks import read_masks
from deploykit.data.sources._npz import read_npz
from deploykit.data.sources._text_files import read_texts
from deploykit.data.sources._tf import read_tf
from deploykit.data.sources._video import read_video

__all__ = [
    "Columns", "read_audio", "read_coco", "read_csv", "read_image_folder", "read_masks", "read_npz", "read_parquet",
    "read_saved_dataset", "read_texts", "read_tf", "read_video",
]  # fmt: skip
