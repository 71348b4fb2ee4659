"""Parquet files, and folders that Hugging Face ``datasets`` has saved: Arrow files with a description beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploykit.core.errors import DatasetError
from deploykit.core.extras import require
from deploykit.core.files import read_small
from deploykit.core.serial import parse
from deploykit.data.kinds import is_saved_dataset
from deploykit.data.reading import Found
from deploykit.data.sources._paths import present, shown
from deploykit.data.sources._tables import Column, Rows, Table, examples_of, found_in

_MOST_BYTES = 16 << 20
#: Names of held-out parts, the better one first: the labels of a test split are often kept secret.
_TRAIN, _HELD_OUT = ("train", "training"), ("validation", "valid", "val", "dev", "test", "testing")
_NUMBERS = ("int", "uint", "float", "double", "halffloat", "bool")


def read_parquet(
    path: Path, x_test: str | Path | None, text: str | Sequence[str] | None, label: str | None, drop: Sequence[str],
    classes: Sequence[str],
) -> Found:  # fmt: skip
    """What Parquet files hold; see `Dataset.from_parquet`."""
    files = {"x": _files(path)}
    if x_test is not None:
        files["x_test"] = _files(Path(x_test))
    elif path.is_dir():
        begun = {key: [f for f in files["x"] if f.name.lower().startswith(names)] for key, names in (("x", _TRAIN),)}
        held = next((found for name in _HELD_OUT if (found := [f for f in files["x"] if f.name.startswith(name)])), [])
        if begun["x"] and held:
            files = {"x": begun["x"], "x_test": held}
    parts: dict[str, Rows] = {}
    size: tuple[int, int] | None = None
    for key, some in files.items():
        table = _parquet(path if key == "x" else some[0].parent, some)
        parts[key], size = examples_of(table, text, label, drop, parts["x"].classes if parts else classes, size)
    return found_in(parts, str(path), "parquet")


def read_saved_dataset(
    path: Path, split: str | None, test_split: str | None, text: str | Sequence[str] | None, label: str | None,
    drop: Sequence[str], size: tuple[int, int] | None, classes: Sequence[str],
) -> Found:  # fmt: skip
    """What a folder of ``save_to_disk`` holds; see `Dataset.from_huggingface`."""
    present(path, folder=True)
    chosen, others = _splits(path, split, test_split)
    parts: dict[str, Rows] = {}
    for key, folder in chosen.items():
        table = _saved(folder)
        parts[key], size = examples_of(table, text, label, drop, parts["x"].classes if parts else classes, size)
    found = found_in(parts, str(path), "huggingface")
    origin = found.origin
    left_out = (*origin.left_out, *(f"split {name}" for name in others))
    return Found(found.arguments, type(origin)(**{**vars(origin), "left_out": left_out}))


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(path.glob("*.parquet"))
        if not found:
            raise DatasetError(f"{path} holds no .parquet files.", remedy="pass a .parquet file, or a folder of them.")
        return found
    present(path)
    return [path]


def _parquet(source: Path, files: Sequence[Path]) -> Table:
    pa, pq = require("pyarrow"), require("pyarrow.parquet")
    tables = []
    for file in files:
        present(file)
        try:
            tables.append(pq.ParquetFile(file).read())
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(f"{file} is not a Parquet file: {_first(error)}.", remedy="write it again.") from error
    said = (tables[0].schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(said).get("info", {}).get("features", {})
    except (ValueError, AttributeError):
        features = {}
    return _table(source, "parquet", tables, features)


def _saved(folder: Path) -> Table:
    pa = require("pyarrow")
    state, info = _object(folder / "state.json"), _object(folder / "dataset_info.json")
    names = [str(one.get("filename", "")) for one in state.get("_data_files") or [] if isinstance(one, dict)]
    if not names or any(Path(name).name != name for name in names):
        raise DatasetError(f"{folder / 'state.json'} names no data files.", remedy="save it again with save_to_disk.")
    tables = []
    for name in names:
        present(folder / name)
        try:
            with pa.memory_map(str(folder / name)) as file:
                tables.append(pa.ipc.open_stream(file).read_all())
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(
                f"{folder / name} is not an Arrow file: {_first(error)}.", remedy="save it again with save_to_disk."
            ) from error
    features = info.get("features")
    return _table(folder, "huggingface", tables, features if isinstance(features, dict) else {})


def _table(source: Path, kind: str, tables: Sequence[Any], features: Mapping[str, Any]) -> Table:
    pa = require("pyarrow")
    try:
        whole = pa.concat_tables(tables)
    except pa.ArrowException as error:
        raise DatasetError(f"The files of {source} have different columns: {_first(error)}.") from error
    if not whole.num_rows:
        raise DatasetError(f"{source} is empty: it has no rows.")
    columns = {name: _column(whole.column(name), features.get(name)) for name in whole.column_names}
    return Table(str(source), kind, columns)


def _column(values: Any, feature: Any) -> Column:
    """A column by its Arrow type, and by what ``datasets`` says of it."""
    kind = _kind(values.type)
    names: tuple[str, ...] = ()
    if isinstance(feature, list) and feature:
        feature = {"feature": feature[0]}
    if isinstance(feature, Mapping):
        inner = feature.get("feature")
        of = inner if isinstance(inner, Mapping) else feature
        if of.get("_type") == "ClassLabel":
            names = tuple(map(str, of.get("names") or ()))
        if feature.get("_type") == "Image":
            kind = "image"
    if kind in ("text", "words", "numbers", "image"):
        return Column(values.to_pylist(), kind, names)
    if kind == "number":
        missing = values.null_count
        return Column(values.to_pylist() if missing else values.to_numpy(), kind, names)
    return Column((), kind, names)


def _kind(kind: Any) -> str:
    types = require("pyarrow").types
    if types.is_dictionary(kind):
        return _kind(kind.value_type)
    if types.is_string(kind) or types.is_large_string(kind):
        return "text"
    if str(kind).startswith(_NUMBERS):
        return "number"
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = _kind(kind.value_type)
        return {"text": "words", "number": "numbers"}.get(inner, str(kind))
    if types.is_struct(kind) and {kind.field(i).name for i in range(kind.num_fields)} == {"bytes", "path"}:
        return "image"
    return str(kind)


def _splits(path: Path, split: str | None, test_split: str | None) -> tuple[dict[str, Path], list[str]]:
    """Folders of the parts, and the names of splits that are not used."""
    if not (path / "dataset_dict.json").is_file():
        if not is_saved_dataset(path):
            raise DatasetError(
                f"{path} is not a folder of datasets: it has no dataset_info.json and state.json.",
                remedy="save it with dataset.save_to_disk(path).",
            )
        if split is not None or test_split is not None:
            raise DatasetError(f"{path} holds one dataset, without splits.", remedy="leave out split= and test_split=.")
        return {"x": path}, []
    names = [str(name) for name in _object(path / "dataset_dict.json").get("splits") or []]
    for given, argument in ((split, "split"), (test_split, "test_split")):
        if given is not None and given not in names:
            raise DatasetError(f"{path} has no split {given!r}; it has {shown(names)}.", remedy=f"correct {argument}=.")
    first = split or next((n for n in _TRAIN if n in names), next(iter(names), ""))
    if not first or any(Path(name).name != name for name in names):
        raise DatasetError(f"{path / 'dataset_dict.json'} names no splits.", remedy="save it again with save_to_disk.")
    second = test_split or (next((n for n in _HELD_OUT if n in names and n != first), "") if split is None else "")
    chosen = {"x": path / first, **({"x_test": path / second} if second else {})}
    return chosen, [name for name in names if name not in (first, second)]


def _object(file: Path) -> dict[str, Any]:
    present(file)
    try:
        found = parse(read_small(file, _MOST_BYTES, file.name, DatasetError))
    except ValueError as error:
        raise DatasetError(f"{file} is not JSON: {error}.", remedy="save it again with save_to_disk.") from error
    return found if isinstance(found, dict) else {}


def _first(error: BaseException) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")
