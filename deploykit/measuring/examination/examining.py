"""The task that runs the original model, in its own framework, on a few examples: meaning, check and reference.

What it gives settles the contract, shows whether the model does its job on the data as they are read, and is what every
conversion is compared with.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.check import Examined
from deploykit.core.contract import Declared, OutputMeaning
from deploykit.core.errors import DeploykitError, UnsupportedModelError
from deploykit.data.dataset import Dataset
from deploykit.data.meaning import Seen, settled
from deploykit.data.splits import drawn
from deploykit.data.texts import fixed_width
from deploykit.loading._contract import FORMATS
from deploykit.measuring.boxes import finding as boxes
from deploykit.measuring.dependence import depends_on_batch, depends_on_padding
from deploykit.measuring.examination.running import run
from deploykit.measuring.examination.suspects import check
from deploykit.sandbox.task import Report

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Examples the original model is run on.
EXAMPLES = 200
#: Name of the file with the outputs of the original model.
REFERENCE = "reference.npz"
#: Raised when what an examination holds changes.
EXAMINATION_VERSION = 4
_AGAIN = 4
_CLOSE = 0.01


def sample(data: Dataset, count: int = EXAMPLES) -> Dataset:
    """A stratified draw of the evaluation split, as a dataset of its own."""
    whole = data.splits["evaluation"]
    chosen = drawn(len(whole), whole.labels, data.seed, count)
    chosen.sort()
    none = whole.take(slice(0, 0))
    return replace(data, splits={"train": none, "evaluation": whole.take(chosen), "test": none})


def examine(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Run the original model.

    Args:
        arguments: ``path format imports trusted`` of the model; ``data``: folder of a `sample`; ``declared``: plain
            `Declared`; ``out``: folder that takes the reference outputs.
        report: Not used: it takes seconds.

    Returns:
        A plain `Examined`.
    """
    del report
    began = time.perf_counter()
    data = Dataset.open(Path(arguments["data"]))
    declared = Declared.from_json(arguments["declared"])
    session = FORMATS.get(arguments["format"]).open_given(
        Path(arguments["path"]), data.checked, imports=tuple(arguments["imports"]), trusted=arguments["trusted"]
    )
    batch = data.batch("evaluation")
    data = _with_fixed(session, data, batch)
    outputs = run(session.follow(data.checked), batch)
    _check_rows(data, outputs)
    seen = {name: look(value) for name, value in outputs.items()}
    labels = data.labels()
    positions = labels.shape[1:] if labels is not None else ()
    contract = settled(data.checked, seen, declared, labelled=data.labelled, positions=positions)
    contract = boxes.settled(contract, outputs, labels, declared.boxes, batch)
    few = {name: value[:_AGAIN] for name, value in batch.items()}
    again = session.predict(few)
    repeats = same(again, session.predict(few))
    dependent = repeats and (not _same_among_others(session, again, outputs) or depends_on_batch(session, batch))
    split = data.splits["evaluation"]
    texts = {} if split.prepared else split.take(slice(0, _AGAIN)).inputs
    padded = bool(repeats and texts and depends_on_padding(session, texts, data.preprocess))
    contract = replace(contract, batch_dependent=dependent, padding_dependent=padded)
    save(Path(arguments["out"]) / REFERENCE, outputs)
    found = check(session, data, contract, outputs, declared)
    session.close()
    warnings = list(found.warnings)
    if not repeats:
        warnings.insert(
            0,
            "The same examples get different answers when run again: the model draws random numbers or remembers "
            "earlier examples, so its quality cannot be compared.",
        )
    found = replace(found, warnings=tuple(warnings), seconds=time.perf_counter() - began)
    return Examined(contract, found, bool(getattr(session, "half", False)), repeats).to_json()


def _with_fixed(session: Any, data: Dataset, batch: Mapping[str, NDArray[Any]]) -> Dataset:
    """The data with a contract that says which outputs are the same whatever the examples.

    Raises:
        UnsupportedModelError: The scored output is one of them.
    """
    import numpy as np

    contract = data.checked
    free = {o.name for o in contract.outputs if o.role != "state" and o.shape != () and not o.fixed}
    size = session.batch_size
    parts = [
        {n: v[part] for n, v in batch.items()}
        for part in (slice(0, size or 1), slice(size or 1, 2 * size if size else 4))
    ]
    parts[1] = {n: v if len(v) else batch[n][: size or 1] for n, v in parts[1].items()}
    some = [session.predict(part) for part in parts]
    fixed = {
        name
        for name in free
        if some[0][name].ndim
        and len(some[1][name]) != len(next(iter(parts[1].values())))
        and some[0][name].shape == some[1][name].shape
        and np.array_equal(some[0][name], some[1][name])
    }
    if contract.scored.name in fixed:
        others = [o.name for o in contract.judged if o.name not in fixed]
        raise UnsupportedModelError(
            f"Output {contract.scored.name!r} is the same whatever the examples: it cannot be scored.",
            remedy=f"score another one: output={others[0]!r} (--output {others[0]})."
            if others
            else "export the model with outputs that depend on its inputs.",
        )
    outputs = tuple(replace(o, fixed=o.name in fixed, batch_axis=0) if o.name in fixed else o for o in contract.outputs)
    return replace(data, contract=replace(contract, outputs=outputs)) if fixed else data


def _check_rows(data: Dataset, outputs: Mapping[str, NDArray[Any]]) -> None:
    """Refuse outputs that have no row for each example.

    Raises:
        UnsupportedModelError: The first axis of an output is not the batch.
    """
    count = len(data.splits["evaluation"])
    for meaning in data.checked.outputs:
        if meaning.name not in outputs:  # a decoder that writes keeps its cache to itself
            continue
        value = outputs[meaning.name]
        if meaning.role != "state" and value.ndim and len(value) != count:
            raise without_rows(meaning, value, count, UnsupportedModelError)


def without_rows(
    meaning: OutputMeaning, value: NDArray[Any], count: int, error: type[DeploykitError]
) -> DeploykitError:
    """The error for an output that does not have a row for each example."""
    where = f"its axis {meaning.batch_axis} is not the batch, or it has as many rows as are found in the examples"
    return error(
        f"Output {meaning.name!r} has shape {value.shape} for {count} examples: {where}.",
        remedy="export the model with one row for each example in this output: without non-maximum suppression (NMS), "
        "which is done behind the model then, or with a fixed number of results; or without this output. When it "
        "belongs to a state, name it in state=.",
    )


def _same_among_others(session: Any, few: Mapping[str, NDArray[Any]], all_: Mapping[str, NDArray[Any]]) -> bool:
    """Whether the first examples got the same answers in a larger batch; a fixed batch is always as large."""
    if session.batch_size:
        return True
    own = {name: value for name, value in few.items() if value.ndim}  # one number for a whole batch is of no example
    return same(own, {name: all_[name][: len(value)] for name, value in own.items()})


def look(value: NDArray[Any]) -> Seen:
    """What an output looks like."""
    import numpy as np

    if value.dtype.kind in "SUO":
        return Seen(value.shape[1:], "string")
    numbers = value.astype(np.float64) if value.dtype.kind != "f" else value
    finite = numbers[np.isfinite(numbers)]
    sums = []
    if value.dtype.kind == "f" and finite.size == numbers.size and numbers.size:
        for axis in range(1, value.ndim):
            total = numbers.sum(axis=axis, dtype=np.float64)
            if value.shape[axis] > 1 and (np.abs(total - 1) <= _CLOSE).mean() > 0.99 and numbers.min() >= -_CLOSE:
                sums.append(axis - 1)
    unit = False
    if value.ndim > 1 and value.dtype.kind == "f" and value.shape[-1] > 1 and finite.size == numbers.size:
        unit = bool((np.abs(np.linalg.norm(numbers.astype(np.float64), axis=-1) - 1) <= _CLOSE).all())
    return Seen(
        value.shape[1:], value.dtype.name, float(finite.min(initial=0.0)) if finite.size else 0.0,
        float(finite.max()) if finite.size else 0.0, float(np.isnan(numbers).mean()) if numbers.size else 0.0,
        tuple(sums), unit, bool(value.ndim and len(value) > 1 and (value == value[:1]).all()),
    )  # fmt: skip


def same(again: Mapping[str, NDArray[Any]], before: Mapping[str, NDArray[Any]]) -> bool:
    """Whether answers are the same but for rounding."""
    import numpy as np

    for name, value in again.items():
        other = before[name]
        if value.shape != other.shape:
            return False
        if value.dtype.kind != "f":
            if not np.array_equal(value, other):
                return False
            continue
        level = float(np.abs(other[np.isfinite(other)]).max(initial=0.0)) or 1.0
        alike = (value == other) | (np.isnan(value) & np.isnan(other))
        with np.errstate(invalid="ignore"):
            gap = np.abs(value.astype(np.float64) - other)[~alike]
        if gap.size and not (gap <= 1e-3 * level).all():
            return False
    return True


def save(path: Path, outputs: Mapping[str, NDArray[Any]]) -> None:
    """Keep reference outputs: an ``.npz`` with the outputs by number, and their names."""
    import numpy as np

    arrays = {f"output_{i}": fixed_width(value) for i, value in enumerate(outputs.values())}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, names=np.array(list(outputs)), **arrays)  # type: ignore[arg-type]  # the stub's allow_pickle hides the arrays


def load(path: Path) -> dict[str, NDArray[Any]]:
    """Reference outputs by name."""
    import numpy as np

    with np.load(path, allow_pickle=False) as file:
        return {str(name): file[f"output_{i}"] for i, name in enumerate(file["names"].tolist())}
