"""Images with masks: for every pixel the number of its class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.core.mapped import Growing, blocks, distinct, stowed
from deploykit.data import kinds
from deploykit.data.reading import Found, OnRead, Origin
from deploykit.data.sources._images import stacked, usual_size
from deploykit.data.sources._paths import present, shown
from deploykit.data.sources._picture import Pictures, opened
from deploykit.data.sources._stack import Stack

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Formats that keep every pixel; others blur the borders of classes.
_LOSSY = {".jpg", ".jpeg", ".jfif", ".webp"}
_WHITE = 255
#: What positions without a label become.
_IGNORED = -1
#: Colors that a message lists.
_SHOWN = 5


def read_masks(
    images: Path,
    masks: Path | None,
    *,
    size: tuple[int, int] | None,
    classes: Sequence[str],
    colors: Mapping[Any, int] | None,
    ignore: int | None,
    progress: OnRead | None,
) -> Found:
    """What a folder of images and one of masks hold.

    Args:
        images: Folder of the images, or of a folder ``images`` and a folder ``masks``.
        masks: Folder of the masks; None for ``masks`` in the other one.
        size: (height, width) of all images and masks; None for the size that most images have.
        classes: Class names by index.
        colors: Color → class number, for masks in colors.
        ignore: Value of pixels without a label; None for none.
        progress: Called with the images that are read.
    """
    if masks is None:
        images, masks = images / kinds.IMAGES, images / kinds.MASKS
    pairs, left_out = _pairs(images, masks)
    pictures = Pictures()
    given_size = size is not None
    wanted = size or usual_size(pictures, [image for image, _ in pairs])
    table = None if colors is None else {_color(name): int(number) for name, number in colors.items()}
    stack, labels, other, scaled = Stack(), Growing(), [], 0
    for image, mask in pairs:
        numbers = _numbers(mask, table)
        if numbers.shape != pictures.size(image):
            other.append(f"{mask.name} ({_by(numbers.shape)}, its image {_by(pictures.size(image))})")
            if not given_size:
                continue
        scaled += numbers.shape != wanted
        stack.add(pictures.read(image, wanted))
        labels.append(_nearest(numbers, wanted)[None])
        if progress is not None:
            progress(len(stack), len(pairs), "images with masks")
    if other and not given_size:
        raise DatasetError(
            f"{len(other)} of {len(pairs)} masks have another size than their image: {shown(other, 3)}.",
            remedy="give masks of their images' size, or size=(height, width), which scales both (--resize).",
        )
    found, notes = _labels(labels.array(), ignore, classes)
    notes += pictures.notes(wanted)
    if scaled:
        notes.append(
            f"{scaled:,} of {len(pairs):,} masks were scaled to {_by(wanted)} with their images (nearest neighbor)."
        )
    if other:
        notes.append(f"{len(other):,} masks had another size than their image: {shown(other, 3)}.")
    of = {"input": f"images of {images.name}"}
    arrays: dict[str, Any] = {**stacked({"x": stack}, pictures), "y": found}
    origin = Origin(str(images.parent), "masks", of, f"masks of {masks.name}", tuple(left_out), tuple(notes))
    return Found(arrays, origin)


def _pairs(images: Path, masks: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Images with their masks, by their names without endings, and what has no counterpart."""
    ours, theirs = _files(images), _files(masks)
    if lossy := [p.name for p in theirs.values() if p.suffix.lower() in _LOSSY]:
        raise DatasetError(
            f"{len(lossy)} masks are in a format that may not keep every pixel: {shown(lossy, 3)}.",
            remedy="save masks as PNG.",
        )
    pairs = [(ours[name], theirs[name]) for name in sorted(ours.keys() & theirs.keys())]
    if not pairs:
        raise DatasetError(
            f"No image of {images} ({shown(ours, 3)}) has a mask of the same name in {masks} ({shown(theirs, 3)}).",
            remedy="name each mask as its image, apart from the ending.",
        )
    left_out = []
    for here, there, what in ((ours, theirs, "images without a mask"), (theirs, ours, "masks without an image")):
        if lacking := sorted(here.keys() - there.keys()):
            left_out.append(f"{len(lacking):,} {what}: {shown(here[name].name for name in lacking)}")
    return pairs, left_out


def _files(folder: Path) -> dict[str, Path]:
    """Images of a folder and those below it, by their places and names without ending."""
    present(folder, folder=True)
    root, found = folder.resolve(), dict[str, Path]()
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if path.suffix.lower() not in kinds.PICTURES or any(part.startswith(".") for part in place.parts):
            continue
        if not path.is_file() or not path.resolve().is_relative_to(root):
            continue  # links to outside, pipes and devices are never opened
        name = place.with_suffix("").as_posix()
        if name in found:
            raise DatasetError(
                f"{folder} holds {found[name].name} and {path.name}, which pair with the same file.",
                remedy="keep one of them.",
            )
        found[name] = path
    return found


def _numbers(file: Path, table: Mapping[tuple[int, ...], int] | None) -> NDArray[Any]:
    """Class numbers of a mask, (height, width): values of gray and palette images, what colors stand for."""
    import numpy as np

    with opened(file) as picture:
        mode = picture.mode
        pixels = np.asarray(picture.convert("RGB") if table is not None or mode not in _PLAIN else picture)
    if pixels.ndim == 2:
        return pixels.astype(np.int32)
    if table is None:
        if (pixels == pixels[..., :1]).all():  # gray, stored in three channels
            return pixels[..., 0].astype(np.int32)
        found = np.unique(pixels.reshape(-1, 3), axis=0)
        names = ["#{:02x}{:02x}{:02x}".format(*color) for color in found.tolist()]
        raise DatasetError(
            f"{file} is a mask in {len(names)} colors ({shown(names, _SHOWN)}).",
            remedy="say which class each stands for: colors={'#ff0000': 1, …} (--colors).",
        )
    packed = (pixels.astype(np.int32) * (1 << 16, 1 << 8, 1)).sum(axis=-1)
    numbers = np.full(packed.shape, np.iinfo(np.int32).min, np.int32)
    for (red, green, blue), number in table.items():
        numbers[packed == (red << 16) + (green << 8) + blue] = number
    unknown = np.unique(packed[numbers == np.iinfo(np.int32).min])
    if len(unknown):
        raise DatasetError(
            f"{file} holds colors that colors= does not name: {shown((f'#{v:06x}' for v in unknown), _SHOWN)}.",
            remedy="name the class of each; ignore= is that of pixels without a label.",
        )
    return numbers


#: Pillow's names of pictures whose pixels are numbers.
_PLAIN = {"1", "L", "P", "I", "I;16", "I;16L", "I;16B", "I;16N"}


def _color(value: Any) -> tuple[int, ...]:
    """Red, green and blue of ``"#rrggbb"`` or three numbers."""
    if isinstance(value, str):
        text = value.removeprefix("#")
        if len(text) == 6 and all(c in "0123456789abcdefABCDEF" for c in text):
            return tuple(int(text[i : i + 2], 16) for i in (0, 2, 4))
    elif isinstance(value, Sequence) and len(value) == 3 and all(isinstance(v, int) and 0 <= v <= 255 for v in value):
        return tuple(value)
    raise DatasetError(
        f"Expected a color in colors=, got {value!r}.", remedy="write '#ff0000', or (255, 0, 0) from 0 to 255."
    )


def _labels(values: NDArray[Any], ignore: int | None, classes: Sequence[str]) -> tuple[NDArray[Any], list[str]]:
    """Labels of all pixels: class numbers, -1 where there is no label."""
    import numpy as np

    every = set(distinct(values).tolist())
    if every == {0, _WHITE}:
        note = f"masks are black and white: {_WHITE} is class 1."
        return stowed((block == _WHITE).astype(np.int16) for _, block in blocks(values)), [note]
    numbers = every - {ignore, _IGNORED}
    if not numbers:
        raise DatasetError("No pixel of the masks has a label.", remedy="correct ignore=.")
    high = max(numbers)
    if min(numbers) < 0 or high >= (len(classes) or np.iinfo(np.int16).max):
        raise DatasetError(
            f"The masks hold the value {high if min(numbers) >= 0 else min(numbers)}, "
            + (f"classes= names 0 to {len(classes) - 1}." if classes else "which is not a class number."),
            remedy="name every class, or give the value of pixels without a label with ignore=.",
        )
    marked = (np.where(block == ignore, _IGNORED, block).astype(np.int16) for _, block in blocks(values))
    notes = []
    if ignore in every:
        share = sum(int((block == ignore).sum()) for _, block in blocks(values)) / values.size
        notes.append(f"pixels of value {ignore} ({100 * share:.0f} %) have no label and are skipped.")
    return stowed(marked), notes


def _nearest(numbers: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """A mask of another size: the value of the nearest pixel."""
    import numpy as np

    if numbers.shape == size:
        return numbers
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
        for new, old in zip(size, numbers.shape, strict=True)
    )
    found: NDArray[Any] = numbers[rows[:, None], columns[None, :]]
    return found


def _by(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))
