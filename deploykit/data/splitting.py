"""From arrays as they were given to checked splits, and what was read."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError, SettingError, unknown_name
from deploykit.core.mapped import give_back
from deploykit.core.model import plain_name
from deploykit.data.arrays import array_of, checked, same_kind
from deploykit.data.examples import Data
from deploykit.data.preprocess import Preprocess
from deploykit.data.reading import Origin, Reading, counts, described, form, remarks
from deploykit.data.rows import Rows, left
from deploykit.data.split import Split
from deploykit.data.splits import MOST_SORTED, cut, dealt, drawn, shuffled

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Splits in the order of their use.
SPLITS = ("train", "evaluation", "test")
#: Share of the held-out examples that choose; the others confirm the choice.
EVALUATION_SHARE = 0.6
#: Share of the examples used for calibration and fine-tuning when no training data are given apart.
TRAIN_SHARE = 0.4
_MINIMUM = 10


def raw_inputs(preprocess: Preprocess | Mapping[str, Preprocess] | None, x: Any) -> set[str]:
    """Names of the inputs whose values are the model's own."""
    names = [str(name) for name in x] if isinstance(x, Mapping) else ["input"]
    if isinstance(preprocess, Mapping):
        return {name for name, step in preprocess.items() if getattr(step, "raw", False)}
    return set(names) if preprocess is not None and preprocess.raw else set()


def split_up(
    origin: Origin,
    x: Any,
    y: Any,
    x_test: Any,
    y_test: Any,
    classes: tuple[str, ...],
    seed: int,
    raw: Container[str] = (),
) -> tuple[dict[str, Split], tuple[str, ...], Reading]:
    """Checked splits, class names, and what was read; the arguments are those of `Dataset.from_arrays`.

    Bytes of the inputs in ``raw`` are kept as they are.

    Raises:
        DatasetError: The data cannot be used, or are too few.
    """
    given, names, notes = checked(x, y, classes, "x", raw, texts=origin.texts)
    given = replace(given, spare={k: left(v) for k, v in origin.spare.items()}, groups=origin.groups)
    if x_test is None:
        if y_test is not None:
            raise DatasetError("y_test is given, x_test is not.", remedy="pass both or neither.")
        held_out = given
        held = (1 - TRAIN_SHARE) * EVALUATION_SHARE
        parts = dealt(len(given), given.labels, seed, (TRAIN_SHARE, held, 1 - TRAIN_SHARE - held), given.groups)
        splits = {name: given.take(part) for name, part in zip(SPLITS, parts, strict=True)}
    else:
        held_out, names, more = checked(x_test, y_test, names, "x_test", raw, texts=origin.texts)
        spare = {k: left(v) for k, v in origin.test_spare.items()}
        held_out = replace(held_out, spare=spare, groups=origin.test_groups)
        notes = (*notes, *more, *same_kind(given, held_out))
        shares = (EVALUATION_SHARE, 1 - EVALUATION_SHARE)
        parts = dealt(len(held_out), held_out.labels, seed, shares, held_out.groups)
        splits = {"train": given, **{n: held_out.take(p) for n, p in zip(SPLITS[1:], parts, strict=True)}}
    if len(splits["evaluation"]) < _MINIMUM:
        raise DatasetError(
            f"Too few examples: {len(held_out)} leave {len(splits['evaluation'])} to evaluate with; at least "
            f"{_MINIMUM} are needed.",
            remedy="give more held-out examples; confirming a drop of 1 % takes about a thousand.",
        )
    labels = held_out.labels
    reading = Reading(
        source=origin.source,
        kind=origin.kind,
        inputs=tuple(described(k, v, origin.inputs.get(k, "")) for k, v in given.inputs.items()),
        labels=f"{origin.labels}: {form(labels)}" if origin.labels and labels is not None else form(labels),
        given_apart=x_test is not None,
        left_out=origin.left_out,
        notes=(*origin.notes, *notes, *remarks(splits, names)),
    )
    if any(isinstance(v, Rows) for v in given.inputs.values()):
        give_back()
    return splits, names, counted(reading, splits)


def widened(data: Data, names: Sequence[str]) -> Data:
    """See `Dataset.widened`."""
    if len(names) < len(data.inputs) and data.reading.kind == "npz":
        return _narrowed(data, names)
    spare = data.splits["train"].spare
    by_plain_name = {plain_name(key): key for key in spare}
    keys = [by_plain_name.get(plain_name(name), "") for name in names]
    if len(names) <= len(data.inputs) or not all(keys):
        return data
    splits = {}
    for part, split in data.splits.items():
        splits[part] = replace(split, inputs={k: _used(split.spare[k], k) for k in keys}, spare={})
    step = data.preprocess.get("input")
    reading = replace(
        data.reading,
        inputs=tuple(described(k, v, f"array {k}") for k, v in splits["train"].inputs.items()),
        left_out=tuple(words for words in data.reading.left_out if not _is_of(words, keys)),
    )
    return replace(data, splits=splits, preprocess=dict.fromkeys(keys, step) if step else {}, reading=reading)


def _used(array: Any, name: str) -> Any:
    return array if isinstance(array, Rows) else array_of(array, name)


def _narrowed(data: Data, names: Sequence[str]) -> Data:
    """Without the arrays of a file that are not inputs of a model with these, when it has all of those by name."""
    by_plain_name = {plain_name(key): key for key in data.inputs}
    keys = [by_plain_name.get(plain_name(name), "") for name in names]
    if not all(keys):
        return data
    train = data.splits["train"].inputs
    reading = replace(
        data.reading,
        inputs=tuple(described(k, train[k], f"array {k}") for k in keys),
        left_out=(*data.reading.left_out, *(f"array {k}: not an input of the model" for k in train if k not in keys)),
    )
    splits = {part: replace(split, inputs={k: split.inputs[k] for k in keys}) for part, split in data.splits.items()}
    preprocess = {k: step for k, step in data.preprocess.items() if k in keys}
    return replace(data, splits=splits, preprocess=preprocess, reading=reading)


def _is_of(words: str, keys: Sequence[str]) -> bool:
    """Whether a sentence on what was left out is of one of these arrays."""
    return any(words.startswith(f"array {key}") and words[len(f"array {key}") :][:1] in (" ", "_", ":") for key in keys)


def counted(reading: Reading, splits: Mapping[str, Split]) -> Reading:
    """The reading with the numbers of these splits."""
    found = {name: counts(split.labels) for name, split in splits.items()}
    return replace(
        reading,
        splits={name: len(split) for name, split in splits.items()},
        classes={name: each for name, each in found.items() if each is not None},
    )


def without_training(data: Data) -> Data:
    """See `Dataset.without_training`."""
    if data.reading.given_apart or not data.reading.splits:
        return data
    train = data.splits["train"]
    kept, more = _spared(train, data)
    if more is None:
        return data
    splits = {"train": train.take(kept)}
    for name, part in zip(SPLITS[1:], more, strict=True):
        splits[name] = data.splits[name].joined(train.take(part))
    note = (
        f"the model cannot be trained, so the {len(train) - len(kept):,} training examples not used for calibration "
        "went to evaluation and test."
    )
    reading = replace(data.reading, notes=(*data.reading.notes, note))
    return replace(data, splits=splits, reading=counted(reading, splits))


def _spared(train: Split, data: Data) -> tuple[NDArray[Any], list[NDArray[Any]] | None]:
    """Places of the calibration examples, and of the other training examples for evaluation and test, if any."""
    import numpy as np

    shares = (EVALUATION_SHARE, 1 - EVALUATION_SHARE)
    if len(train) <= data.calibration_size:
        return np.arange(len(train)), None
    if train.groups is not None:
        # Whole groups calibrate, until there are enough examples.
        names, own, sizes = np.unique(train.groups, return_inverse=True, return_counts=True)
        order = shuffled(len(names), None, data.seed)
        enough = int(np.searchsorted(np.cumsum(sizes[order]), data.calibration_size)) + 1
        calibrating = np.isin(own, order[:enough])
        kept, rest = calibrating.nonzero()[0], (~calibrating).nonzero()[0]
        if not len(rest):
            return kept, None
        labels = None if train.labels is None else train.labels[rest]
        return kept, [rest[part] for part in dealt(len(rest), labels, data.seed, shares, train.groups[rest])]
    if len(train) <= MOST_SORTED:
        order = shuffled(len(train), train.labels, data.seed)
        kept, rest = order[: data.calibration_size], order[data.calibration_size :]
        kept.sort()
        return kept, cut(rest, shares)
    kept = np.sort(drawn(len(train), train.labels, data.seed, data.calibration_size))
    left = np.ones(len(train), np.bool_)
    left[kept] = False
    return kept, [part[left[part]] for part in dealt(len(train), train.labels, data.seed, shares)]


def evaluated_only(data: Data) -> Data:
    """The data without training examples: they go to evaluation and test, unless they were given apart."""
    train = data.splits["train"]
    if data.reading.given_apart:
        splits = {**data.splits, "train": train.take(slice(0, 0))}
        left_out = (*data.reading.left_out, f"the {len(train):,} training examples that were given")
        return replace(data, splits=splits, reading=replace(data.reading, left_out=left_out))
    parts = dealt(len(train), train.labels, data.seed, (EVALUATION_SHARE, 1 - EVALUATION_SHARE), train.groups)
    more = {name: data.splits[name].joined(train.take(part)) for name, part in zip(SPLITS[1:], parts, strict=True)}
    return replace(data, splits={"train": train.take(slice(0, 0)), **more})


def synthesized(data: Data, inputs: Mapping[str, NDArray[Any]], note: str, *, evaluated: int = 0) -> Data:
    """The data with training examples that were made, as the model takes them, without labels.

    Args:
        data: The data; other training examples are left out.
        inputs: Model's input → examples.
        note: Where they come from, a sentence.
        evaluated: How many of the last ones become the evaluation and test examples; 0 keeps those of the data.
    """
    count = len(next(iter(inputs.values()))) - evaluated
    cuts = {"train": slice(0, count)}
    if evaluated:
        middle = count + round(EVALUATION_SHARE * evaluated)
        cuts |= {"evaluation": slice(count, middle), "test": slice(middle, None)}
    made = {n: Split({k: v[part] for k, v in inputs.items()}, None, prepared=True) for n, part in cuts.items()}
    splits = {**data.splits, **made}
    as_well = "evaluation and test inputs were synthesized as well: results show agreement, not accuracy."
    notes = (note, as_well) if evaluated else (*data.reading.notes, note)
    reading = replace(data.reading, given_apart=True, notes=notes)
    return replace(data, splits=splits, reading=counted(reading, splits))


def by_input(
    preprocess: Preprocess | Mapping[str, Preprocess] | None, inputs: Mapping[str, Any]
) -> dict[str, Preprocess]:
    """Preprocessing by input name, from one for all of them or some by name.

    Raises:
        DatasetError: It names an input that there is not.
        SettingError: It is not a Preprocess.
    """
    if isinstance(preprocess, Preprocess):
        return dict.fromkeys(inputs, preprocess)
    given = dict(preprocess or {})
    if unknown := set(given) - set(inputs):
        raise DatasetError(f"preprocess names the inputs {sorted(unknown)}; the data have {sorted(inputs)}.")
    for name, value in given.items():
        if not isinstance(value, Preprocess):
            raise SettingError(f"preprocess[{name!r}] must be a Preprocess, got {type(value).__name__}.")
    return given


def read_with(data: Data, preprocess: Preprocess | Mapping[str, Preprocess]) -> Data:
    """See `Dataset.preprocessed`."""
    if isinstance(preprocess, Preprocess):
        if len(data.inputs) > 1:
            raise DatasetError(
                f"There are several inputs: {', '.join(data.inputs)}.", remedy="give preprocess as a dictionary."
            )
        preprocess = {data.inputs[0]: preprocess}
    for name in preprocess:
        if name not in data.inputs:
            raise unknown_name("input", name, data.inputs)
    return replace(data, preprocess={**data.preprocess, **preprocess}, contract=None)
