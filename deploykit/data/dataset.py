"""Named batches, with labels or without, split once and for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from deploykit.core.contract import Declared
from deploykit.core.errors import DatasetError, SettingError
from deploykit.data.labels import class_names
from deploykit.data.media import Media
from deploykit.data.preprocess import Preprocess
from deploykit.data.reading import OnRead, Origin
from deploykit.data.splitting import read_with, widened, without_training
from deploykit.data.textual.reading import FromText

if TYPE_CHECKING:
    from deploykit.core.model import Model


@dataclass(frozen=True, eq=False)
class Dataset(FromText, Media):
    """Data to calibrate, fine-tune, evaluate and confirm with.

    Make one with `from_arrays`, `from_npz`, `from_csv`, `from_text`, `from_image_folder`, `from_masks`, `from_coco`,
    `from_audio`, `from_video` or `from_tf`.

    Attributes:
        splits: ``"train"`` (fine-tuning; calibration is drawn from it), ``"evaluation"`` (compares the candidates),
            ``"test"`` (confirms the choice). Seeded and stratified.
        preprocess: Input name → preprocessing.
        classes: Class names by index, empty for regression or when unknown.
        seed: Seed of the splits.
        calibration_size: Number of training examples that calibrate a quantizer.
        reading: Where the data come from, how they were interpreted, and what was left out; not part of the digest.
        contract: How inputs, labels and outputs are interpreted; None before the data are checked against a model.

    Example:
        >>> data
        Dataset(15,000 train, 3,000 evaluation, 2,000 test; input: uint8 (28, 28); labeled, 10 classes)
        >>> data.classes[:3]
        ('T-shirt/top', 'Trouser', 'Pullover')
    """

    # -- making one -------------------------------------------------------------------------------------------------

    @classmethod
    def from_arrays(
        cls,
        x: Any,
        y: Any = None,
        *,
        x_test: Any = None,
        y_test: Any = None,
        preprocess: Preprocess | Mapping[str, Preprocess] | None = None,
        classes: Sequence[str] | Mapping[Any, Any] = (),
        seed: int = 0,
        calibration_size: int = 200,
    ) -> Self:
        """From arrays in memory.

        Args:
            x: Examples, batch first; a dictionary by input name for models with several inputs. They keep their dtype;
                bytes are text (UTF-8) unless ``preprocess`` sets ``raw``.
            y: Labels: class indices, class names, one-hot rows, several 0/1 labels per example, labels per position, or
                real numbers; None if there are none. Text with numbers is read as numbers.
            x_test: Held-out examples. With them, ``x`` is training data and the held-out ones are split into
                evaluation (60 %) and test (40 %). Without them, ``x`` is split into train (40 %), evaluation (36 %)
                and test (24 %): give data the model was not trained on.
            y_test: Labels of ``x_test``.
            preprocess: How raw examples become model inputs; by input name for several inputs.
            classes: Class names by index: a list, or a dictionary that maps between names and class numbers.
            seed: Seed of the splits.
            calibration_size: Number of training examples that calibrate a quantizer.

        Raises:
            DatasetError: The data are empty, too small, ragged, of unequal lengths, contain NaN, or have an unusable
                dtype.

        Example:
            >>> import numpy as np
            >>> random = np.random.default_rng(0)
            >>> dk.Dataset.from_arrays(random.random((100, 4)), np.arange(100) % 2, classes=["no", "yes"])
            Dataset(40 train, 36 evaluation, 24 test; input: float64 (4,); labeled, 2 classes)
        """
        arrays = {"x": x, "y": y, "x_test": x_test, "y_test": y_test}
        return cls._made(
            Origin(), **arrays, preprocess=preprocess, classes=classes, seed=seed, calibration_size=calibration_size
        )

    @classmethod
    def from_npz(
        cls, path: str | Path, *, x_key: str | Sequence[str] | None = None, y_key: str | None = None, **options: Any
    ) -> Self:
        """From an ``.npz`` file with ``x`` and ``y``, or ``x_train y_train x_test y_test`` (and ``classes``).

        A folder with one ``.npy`` file for each array (``x.npy``, ``y.npy``) is read alike. Large arrays stay on the
        disk: they are mapped where they are, those of a compressed file once unpacked.

        Without an array ``x``, every array that is not labels is an input of that name, so a file can hold one array
        for each input of a model (``a``, ``b`` and ``y``; ``a_train``, ``a_test``, …). Labels may be called ``labels``,
        ``target`` or similar. `reading` records how arrays were interpreted and what was left out.

        Args:
            path: The file or folder. Pickled arrays are refused.
            x_key: Name of the array of examples if it is different, or the names for several inputs.
            y_key: Name of the array of labels if it is different, "" if there are no labels.
            **options: As in `from_arrays`.

        Raises:
            DatasetError: The file or an array is missing or unusable.

        Example:
            >>> given = dk.Dataset.from_npz("data/fashion-mnist.npz", preprocess=dk.Preprocess(scale=1 / 255))
            >>> given.sample(2).shape
            (2, 28, 28)
        """
        from deploykit.data import sources

        found = sources.read_npz(Path(path), x_key, y_key)
        return cls._made(found.origin, **{**found.arguments, **options})

    @classmethod
    def from_csv(
        cls,
        path: str | Path,
        *,
        label: str | None = None,
        drop: Sequence[str] = (),
        progress: OnRead | None = None,
        **options: Any,
    ) -> Self:
        """From a CSV file with a header: one example per row, with only numbers except for the label.

        Args:
            path: The file.
            label: Column of the labels; None: a column named label, target, class or y, if there is one.
            drop: Columns to leave out, for example an identifier.
            progress: Called while it is read with what is done, of how much (0: not known), and the unit.
            **options: As in `from_arrays`.

        Raises:
            DatasetError: The file is missing, or a cell is not a number (with line and column).

        Example:
            >>> import csv
            >>> with open("answers.csv", "w", newline="") as file:
            ...     rows = [("width", "height", "answer"), *((i % 7, i % 5, ("no", "yes")[i % 2]) for i in range(100))]
            ...     csv.writer(file).writerows(rows)
            >>> given = dk.Dataset.from_csv("answers.csv", label="answer")
            >>> given.classes, given.sample(1).shape
            (('no', 'yes'), (1, 2))
        """
        from deploykit.data import sources

        found = sources.read_csv(Path(path), label, drop, class_names(options.get("classes", ())), progress)
        return cls._made(found.origin, **{**found.arguments, **options})

    @classmethod
    def from_image_folder(
        cls,
        path: str | Path,
        *,
        size: tuple[int, int] | None = None,
        progress: OnRead | None = None,
        **options: Any,
    ) -> Self:
        """From a folder with one subfolder of images per class.

        16-bit gray images stay uint16; palettes, CMYK and other color modes become RGB; transparent areas become white.
        Images are rotated according to their EXIF orientation and resized like in `Preprocess`. `reading` records what
        was done and what was left out. Links to files outside the folder, pipes and devices are never opened.

        Args:
            path: The folder. If it has subfolders ``train`` and ``test`` (or ``val``), each contains the class folders.
            size: (height, width) for images of different sizes; None: the most frequent size.
            progress: Called while it is read with what is done, of how much (0: not known), and the unit.
            **options: As in `from_arrays`; ``classes`` gives the order of folders if it is not alphabetical.

        Raises:
            DatasetError: No image is found, or one cannot be read (with its name).

        Example:
            >>> from pathlib import Path
            >>> from PIL import Image
            >>> for name, gray in [("dark", 40), ("light", 200)]:
            ...     Path("images", name).mkdir(parents=True, exist_ok=True)
            ...     for i in range(50):
            ...         Image.new("L", (28, 28), gray + i).save(Path("images", name, f"{i}.png"))
            >>> dk.Dataset.from_image_folder("images").classes
            ('dark', 'light')
        """
        from deploykit.data import sources

        found = sources.read_image_folder(Path(path), size, class_names(options.get("classes", ())), progress)
        return cls._made(found.origin, **{**options, **found.arguments})

    @classmethod
    def from_coco(
        cls,
        annotations: str | Path,
        images: str | Path | None = None,
        *,
        size: tuple[int, int] | None = None,
        fit: str = "letterbox",
        test: str | Path | None = None,
        test_images: str | Path | None = None,
        **options: Any,
    ) -> Self:
        """Images with boxes, from an annotation file in COCO's form and a folder of images.

        Labels are boxes, shape (images, boxes, 6): left, top, right, bottom as shares of the image that the model gets,
        class, and 1 for a crowd; rows of class −1 fill up. Categories become classes 0, 1, … in the order of their ids.
        Boxes are cut at the edge of their image. `reading` names and counts what was left out: images without a file,
        boxes without area or outside their image, and boxes that are listed twice.

        Args:
            annotations: The JSON file, with ``images``, ``annotations`` and ``categories``.
            images: Folder of the images; None: the one that the file is in.
            size: (height, width) of all images; None: the most frequent size.
            fit: How images of another size are fitted: ``"letterbox"`` keeps their shape between gray bars, as YOLO
                models are trained; ``"stretch"`` scales both sides, as SSD models are. ``resize`` and ``fit`` of
                ``preprocess`` have the server do the same with clients' images.
            test: Annotation file of held-out images.
            test_images: Their folder; None: the one of the others.
            **options: As in `from_arrays`, except ``classes``.

        Raises:
            DatasetError: A file is missing or not of that form, no image has a file, ids are used twice, or a category
                is unknown.
            SettingError: ``preprocess`` fits images in the other way.

        Example:
            >>> import json
            >>> from pathlib import Path
            >>> from PIL import Image
            >>> Path("street").mkdir(exist_ok=True)
            >>> for i in range(50):
            ...     Image.new("RGB", (64, 48), (5 * i, 90, 60)).save(f"street/{i}.png")
            >>> found = {
            ...     "images": [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 48} for i in range(50)],
            ...     "annotations": [{"id": i + 1, "image_id": i, "category_id": 7, "bbox": [8, 8, 16, 32]}
            ...                     for i in range(50)],
            ...     "categories": [{"id": 7, "name": "bus"}],
            ... }
            >>> _ = Path("street/boxes.json").write_text(json.dumps(found))
            >>> dk.Dataset.from_coco("street/boxes.json", size=(32, 32)).classes
            ('bus',)
        """
        from deploykit.data import sources

        step = options.get("preprocess")
        if isinstance(step, Preprocess) and step.resize is not None and step.fit != fit:
            raise SettingError(
                f"The images are fitted by {fit!r}, and preprocess= fits those of clients by {step.fit!r}: what is "
                "served would see other images than what is judged.",
                remedy=f"give preprocess=dk.Preprocess(…, fit={fit!r}), or fit={step.fit!r}.",
            )
        found = sources.read_coco(
            Path(annotations), None if images is None else Path(images), size, fit,
            None if test is None else Path(test), None if test_images is None else Path(test_images),
        )  # fmt: skip
        return cls._made(found.origin, **{**options, **found.arguments})

    @classmethod
    def from_tf(
        cls,
        dataset: Any,
        test: Any = None,
        *,
        batched: bool | None = None,
        progress: OnRead | None = None,
        **options: Any,
    ) -> Self:
        """From a ``tf.data.Dataset`` of ``x`` or ``(x, y)``, batched or not.

        Args:
            dataset: The dataset (finite); ``x`` is a tensor, or a dictionary of tensors by input name.
            test: Held-out examples, another ``tf.data.Dataset``.
            batched: Whether an element is a batch; None: decided by the shapes.
            progress: Called while it is read with what is done, of how much (0: not known), and the unit.
            **options: As in `from_arrays`.

        Raises:
            DatasetError: The dataset is infinite or empty, or its elements have a different structure.
        """
        from deploykit.data import sources

        origin = Origin("a tf.data.Dataset", "tf.data")
        x, y = sources.read_tf(dataset, batched, progress)
        if test is None:
            return cls._made(origin, x, y, **options)
        x_test, y_test = sources.read_tf(test, batched, progress)
        return cls._made(origin, x, y, x_test, y_test, **options)

    @classmethod
    def of(cls, data: Any) -> Dataset:
        """``data`` itself, or a dataset made of a pair ``(x, y)``."""
        if isinstance(data, Dataset):
            return data
        if isinstance(data, tuple) and len(data) == 2:
            return cls.from_arrays(*data)
        raise DatasetError(
            f"Expected a Dataset or a pair (x, y), got {type(data).__name__}.",
            remedy="make one with dk.Dataset.from_arrays, from_npz, from_csv, from_text, from_image_folder, from_coco "
            "or from_tf.",
        )

    # -- using it ---------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        inputs = ", ".join(f"{k}: {v.dtype} {v.shape[1:]}" for k, v in self.splits["evaluation"].inputs.items())
        sizes = ", ".join(f"{len(s):,} {n}" for n, s in self.splits.items())
        labels = "labeled" if self.labelled else "no labels"
        if remarks := len(self.reading.left_out) + len(self.reading.notes):
            labels += f"; {remarks} remark{'s' if remarks > 1 else ''} in .reading"
        return f"Dataset({sizes}; {inputs}; {labels}{f', {len(self.classes)} classes' if self.classes else ''})"

    def check(self, model: Model, declared: Declared | None = None) -> Dataset:
        """The dataset with inputs and labels as the model needs them, and the contract that describes them.

        Args:
            model: From ``dk.load``.
            declared: What the user declares about the signature: the scored output, state, constants.

        Raises:
            DatasetError: Inputs, shapes, dtypes or labels do not fit or are ambiguous; the message says which, and
                what to do.
        """
        from deploykit.data.fitting import fitted

        known, said = self.contract, declared not in (None, Declared())
        if not said and known is not None and [i.name for i in known.inputs] == [s.name for s in model.inputs]:
            return self  # checked already, against the same signature
        return fitted(self, model, declared)

    def preprocessed(self, preprocess: Preprocess | Mapping[str, Preprocess]) -> Dataset:
        """The same examples with different preprocessing.

        Args:
            preprocess: How raw examples become model inputs; by input name for several inputs.

        Raises:
            DatasetError: With several inputs it is not given by input, or it names an unknown input.

        Example:
            >>> import numpy as np
            >>> import deploykit as dk
            >>> data = dk.Dataset.from_arrays(np.full((60, 2), 255, np.uint8))
            >>> data.preprocessed(dk.Preprocess(scale=1 / 255)).batch()["input"].max()
            np.float32(1.0)
        """
        return read_with(self, preprocess)

    def widened(self, names: Sequence[str]) -> Dataset:
        """Only the arrays of an ``.npz`` file that a model with these inputs takes, if all of them exist by name."""
        return widened(self, names)

    def without_training(self) -> Dataset:
        """For a model that cannot be trained: the training examples beyond calibration go to evaluation and test.

        The training split keeps the calibration examples; of the others, evaluation gets 60 % and test 40 %. Data with
        separate held-out examples are unchanged, because nothing is evaluated on training data.
        """
        return without_training(self)

    # -- on disk, for child processes -------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write the arrays as ``.npy`` files that child processes can map into memory.

        Raises:
            StoreError: The disk is full.
        """
        from deploykit.data.saved_data import save

        save(self, folder)

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Map a dataset into memory that `save` wrote into ``folder``."""
        from deploykit.data.saved_data import opened

        return opened(cls, Path(folder))
