"""Images with boxes, as COCO's JSON describes them."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from deploykit.core.errors import DatasetError, unknown_name
from deploykit.data.boxes import padded
from deploykit.data.reading import Found, Origin
from deploykit.data.resize import FILTER, FITS, Place, placed, resized
from deploykit.data.sources._paths import present, shown
from deploykit.data.sources._picture import Pictures

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PARTS = ("images", "annotations", "categories")
#: Sizes of a picture and of its entry may differ by this share and still be the same picture at another resolution.
_SAME_SHAPE = 0.02


@dataclass
class _Read:
    """One file: its images with their boxes, and what was met."""

    path: Path
    folder: Path
    names: dict[int, str]
    images: list[dict[str, Any]]
    boxes: dict[Any, list[dict[str, Any]]]
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_coco(
    path: Path, folder: Path | None, size: tuple[int, int] | None, fit: str, test: Path | None, test_folder: Path | None
) -> Found:
    """What a file in COCO's form and a folder of images hold.

    Args:
        path: The JSON file.
        folder: Folder of the images; None for the one that the file is in.
        size: (height, width) of all images; None for the size that most images have.
        fit: One of `FITS`.
        test: Another such file, of held-out images.
        test_folder: Their folder; None for that of the others.
    """
    if fit not in FITS:
        raise unknown_name("fit", fit, FITS)
    parts = {"": _parsed(path, folder or path.parent)}
    if test is not None:
        parts["_test"] = _parsed(test, test_folder or folder or test.parent)
        if parts[""].names != parts["_test"].names:
            raise DatasetError(
                f"{path.name} and {test.name} list different categories.", remedy="give both files the same categories."
            )
    names = parts[""].names
    numbers = {identity: i for i, identity in enumerate(sorted(names))}
    pictures = Pictures()
    size = size or Counter(pictures.size(_file(parts[""], i)) for i in parts[""].images).most_common(1)[0][0]
    found: dict[str, Any] = {"classes": [names[i] for i in sorted(names)]}
    boxes: dict[str, list[NDArray[Any]]] = {}
    scaled = 0
    for key, part in parts.items():
        arrays, labels = [], []
        for image in part.images:
            pixels = pictures.read(_file(part, image), None)
            scaled += pixels.shape[:2] != size
            place = placed((pixels.shape[0], pixels.shape[1]), size, fit)
            arrays.append(resized(pixels[None], size, fit)[0])
            labels.append(_labels(part.boxes.get(image["id"], []), image, numbers, place, size))
        found[f"x{key}"], boxes[f"y{key}"] = arrays, labels
    most = max(len(one) for part in boxes.values() for one in part)
    found |= {key: padded(part, most) for key, part in boxes.items()}
    pictures.stack(found)
    notes = [*parts[""].notes, *pictures.notes(None)]
    if scaled:
        how = "with gray bars (letterbox)" if fit == "letterbox" else "to fill it (stretch)"
        notes.append(
            f"{scaled:,} of {pictures.read_count:,} images were scaled to {size[0]} x {size[1]} {how}; {FILTER}."
        )
    if sorted(names) != list(range(len(names))):
        notes.append(
            f"the {len(names)} categories have ids {min(names)} to {max(names)}; they became classes 0 to "
            f"{len(names) - 1} in the order of their ids."
        )
    left_out = [words for part in parts.values() for words in part.left_out]
    notes += parts["_test"].notes if "_test" in parts else []
    of = {"input": f"images in {parts[''].folder}"}
    return Found(found, Origin(str(path), "coco", of, "boxes", tuple(left_out), tuple(notes)))


def _parsed(path: Path, folder: Path) -> _Read:
    present(path)
    present(folder, folder=True)
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not JSON: {error}.", remedy="give an annotation file in COCO's form.") from error
    if isinstance(found, list):
        raise DatasetError(
            f"{path} is a list: detection results, not annotations.",
            remedy="give the file with images, annotations and categories (instances_….json).",
        )
    lacking = [p for p in _PARTS if not isinstance(found.get(p), list)] if isinstance(found, dict) else list(_PARTS)
    if lacking:
        raise DatasetError(
            f"{path} has no {' and no '.join(lacking)}.",
            remedy="an annotation file in COCO's form has the lists images, annotations and categories.",
        )
    for part in _PARTS:
        wanted = {"images": ("id", "file_name"), "annotations": ("image_id", "category_id"), "categories": ("id",)}
        for entry in found[part]:
            if not isinstance(entry, dict) or any(key not in entry for key in wanted[part]):
                _refuse(path, f"an entry of {part} lacks {' or '.join(wanted[part])}: {str(entry)[:80]}")
    names = _names(path, found["categories"])
    read = _Read(path, folder, names, [], {})
    known = _unique(path, "image", found["images"])
    _present(read, list(known.values()))
    _sort(read, found["annotations"], {image["id"] for image in read.images}, set(known))
    return read


def _names(path: Path, categories: list[dict[str, Any]]) -> dict[int, str]:
    if not categories:
        _refuse(path, "it lists no categories")
    _unique(path, "category", categories)
    if odd := [c["id"] for c in categories if type(c["id"]) is not int]:
        _refuse(path, f"the id {odd[0]!r} of a category is not a whole number")
    return {c["id"]: str(c.get("name", c["id"])) for c in categories}


def _unique(path: Path, what: str, entries: list[dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    found: dict[Any, dict[str, Any]] = {}
    for entry in entries:
        if entry["id"] in found:
            _refuse(path, f"the {what} id {entry['id']!r} occurs more than once")
        found[entry["id"]] = entry
    return found


def _refuse(path: Path, why: str) -> NoReturn:
    raise DatasetError(f"{path} cannot be used: {why}.", remedy="correct the annotation file.")


def _file(read: _Read, image: Mapping[str, Any]) -> Path:
    return read.folder / str(image["file_name"])


def _present(read: _Read, images: list[dict[str, Any]]) -> None:
    """Take the images whose files are there."""
    root = read.folder.resolve()
    lacking = []
    for image in images:
        file = _file(read, image)
        if not file.resolve().is_relative_to(root):
            raise DatasetError(
                f"{read.path} names the image {str(image['file_name'])!r}, which is outside {read.folder}.",
                remedy="give the folder that holds all images: images= (--images).",
            )
        if file.is_file():
            read.images.append(image)
        else:
            lacking.append(image["file_name"])
    if not read.images:
        first = f", for example {lacking[0]!r}" if lacking else ""
        raise DatasetError(
            f"{read.folder} holds none of the {len(images):,} images of {read.path.name}{first}.",
            remedy="give the folder of the images: images= (--images).",
        )
    if lacking:
        read.left_out.append(
            f"{len(lacking):,} of {len(images):,} images of {read.path.name}, whose files are missing: {shown(lacking)}"
        )


def _sort(read: _Read, annotations: list[dict[str, Any]], there: set[Any], known: set[Any]) -> None:
    """Give each image its boxes, and count those that are left out."""
    identities: dict[Any, dict[str, Any]] = {}
    skipped: Counter[str] = Counter()
    if unknown := Counter(a["category_id"] for a in annotations if a["category_id"] not in read.names):
        _refuse(read.path, f"{sum(unknown.values()):,} boxes have a category that it does not list ({shown(unknown)})")
    sizes = {image["id"]: _stated(read, image) for image in read.images}
    for entry in annotations:
        identity = entry.get("id")
        if identity is not None and (other := identities.setdefault(identity, entry)) is not entry:
            if other != entry:
                _refuse(read.path, f"the annotation id {identity!r} occurs more than once, for different boxes")
            skipped["listed twice"] += 1
            continue
        if entry["image_id"] not in there:
            skipped["of images that are left out" if entry["image_id"] in known else "of images it does not list"] += 1
            continue
        width, height = sizes[entry["image_id"]]
        left, top, right, bottom = _corners(read.path, entry)
        inside = (max(left, 0.0), max(top, 0.0), min(right, width), min(bottom, height))
        if right <= left or bottom <= top:
            skipped["without area"] += 1
        elif inside[2] <= inside[0] or inside[3] <= inside[1]:
            skipped["outside their image"] += 1
        else:
            skipped["cut"] += max(abs(a - b) for a, b in zip(inside, (left, top, right, bottom), strict=True)) > 1.0
            read.boxes.setdefault(entry["image_id"], []).append({**entry, "corners": inside})
    if cut := skipped.pop("cut", 0):
        read.notes.append(f"{cut:,} boxes reach beyond their image and were cut at its edge.")
    read.left_out += [f"{count:,} boxes {why}" for why, count in sorted(skipped.items()) if count]
    if not read.boxes:
        _refuse(read.path, f"no image has a box{f' ({shown(read.left_out)})' if read.left_out else ''}")
    if empty := sum(image["id"] not in read.boxes for image in read.images):
        read.notes.append(f"{empty:,} of {len(read.images):,} images have no box: anything found there is wrong.")


def _corners(path: Path, entry: Mapping[str, Any]) -> tuple[float, float, float, float]:
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(v, int | float) for v in box):
        _refuse(path, f"annotation {entry.get('id')!r} has no bbox of four numbers, got {str(box)[:60]}")
    if not all(math.isfinite(v) for v in box):
        _refuse(path, f"annotation {entry.get('id')!r} has a bbox that is not finite, {box}")
    left, top, width, height = map(float, box)
    return left, top, left + width, top + height


def _stated(read: _Read, image: dict[str, Any]) -> tuple[float, float]:
    """(width, height) that the boxes of an image refer to: those of its entry, else those of its file.

    Raises:
        DatasetError: The file has another shape.
    """
    height, width = Pictures().size(_file(read, image))
    stated = (image.get("width") or width, image.get("height") or height)
    if any(not isinstance(v, int | float) or v <= 0 for v in stated):
        _refuse(read.path, f"image {image['id']!r} has the size {stated}")
    if abs(stated[0] * height / (stated[1] * width) - 1) > _SAME_SHAPE:
        turned = stated[0] * width == stated[1] * height
        hint = ", which is turned by its EXIF orientation" if turned else ""
        raise DatasetError(
            f"{read.path} says that {image['file_name']!r} is {stated[0]} x {stated[1]} (width x height), the file is "
            f"{width} x {height}{hint}.",
            remedy="give the images that were annotated, or correct width and height of the entry.",
        )
    image["stated"] = (float(stated[0]), float(stated[1]))
    return image["stated"]  # type: ignore[no-any-return]  # set just before


def _labels(
    boxes: list[dict[str, Any]], image: Mapping[str, Any], numbers: Mapping[int, int],
    place: Place, size: tuple[int, int],
) -> NDArray[Any]:  # fmt: skip
    """Boxes of an image as shares of the fitted one, shape (boxes, 6)."""
    import numpy as np

    width, height = image["stated"]
    found = np.zeros((len(boxes), 6))
    for row, entry in zip(found, boxes, strict=True):
        corners = np.array(entry["corners"]) / (width, height, width, height)
        moved = corners * (*place[2:], *place[2:]) + (*place[:2], *place[:2])
        row[:4] = moved / (size[1], size[0], size[1], size[0])
        row[4:] = numbers[entry["category_id"]], bool(entry.get("iscrowd"))
    exact = found.astype(np.float32)
    return exact[(exact[:, 2:4] > exact[:, :2]).all(axis=1)]  # what is too small for float32 has no area
