"""Whether data fit a model, and which array feeds which input: found before any work is done, and never by order."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import Contract, Declared, InputMeaning
from deploykit.core.errors import DatasetError, SettingError, unknown_name
from deploykit.core.mapped import each, extremes
from deploykit.core.model import batch_axis_of, fits_shape, plain_name
from deploykit.data.caching import decoder_of, next_tokens, writing
from deploykit.data.examples import Data, Examples
from deploykit.data.meaning import outputs_and_labels
from deploykit.data.preprocess import Preprocess, remedy
from deploykit.data.saying import said_of_inputs
from deploykit.data.splitting import widened
from deploykit.data.textual.attach import tokenized
from deploykit.data.textual.labels import aligned, in_order_of, spelled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from deploykit.core.decoder import Decoder
    from deploykit.core.model import Model, TensorSpec

    #: Model's input → array of the data, and how it was found.
    Pairs = dict[str, tuple[str, str]]

#: With more inputs than this, arrays that are paired by their form are not looked for.
_MOST_BY_FORM = 12


def fitted(data: Data, model: Model, declared: Declared | None = None) -> Data:
    """The dataset with its inputs named as the model's, and the contract of both; see `Dataset.check`."""
    declared = declared or Declared()
    _check_declared(model, declared)
    decoder, declared = decoder_of(model, declared)
    fed = {*declared.constants, *declared.state.values()}
    data = widened(data, [spec.name for spec in model.inputs if spec.name not in fed])
    data, said = tokenized(data, [spec for spec in model.inputs if spec.name not in fed], model.hub)
    data, ordered = in_order_of(data, _classes(model))
    data, vocabulary = spelled(data, model.hub)
    ordered += vocabulary
    if any(spec.shape is None or len(spec.shape) > 2 for spec in model.outputs):
        data, more_said = aligned(data)
        ordered += more_said
    asked = data.asked
    probe = data.batch("evaluation", slice(0, 1))
    free = [s for s in model.inputs if s.name not in declared.constants]
    fed_back = set(declared.state.values())
    if decoder is not None:
        fed_back |= set(decoder.parts) - probe.keys()
    pairs = _paired(free, probe, fed_back, model)
    specs = {s.name: _with_axis(s, probe[pairs[s.name][0]] if s.name in pairs else None, model) for s in model.inputs}
    sequences = False
    for name, (source, _) in pairs.items():
        steps = bool(declared.state) and name not in fed_back and _is_sequence(specs[name], probe[source])
        sequences = sequences or steps
        _check_input(
            specs[name],
            probe[source][:, 0] if steps else probe[source],
            data.splits["evaluation"].inputs[asked[source]],
            data.preprocess.get(asked[source]),
        )
    sources = {name: source for name, (source, _) in pairs.items()}
    data, stored = _as_whole(data, {source: specs[name] for name, source in sources.items() if asked[source] == source})
    probe = data.batch("evaluation", slice(0, 1)) if stored else probe
    # Text keeps its name: the arrays that its tokenizer makes of it have those of the model.
    names = {name if asked[source] == source else asked[source]: asked[source] for name, source in sources.items()}
    preprocess = {new: data.preprocess[old] for new, old in names.items() if old in data.preprocess}
    inputs = tuple(
        _as_tokens(_carried(_meaning(specs[s.name], pairs, probe, preprocess, declared), decoder), data)
        for s in model.inputs
    )
    renamed = replace(
        data, splits={s: p.renamed(names) for s, p in data.splits.items()}, preprocess=preprocess, contract=None
    )
    said_next = False
    if decoder is not None:
        decoder = writing(decoder, renamed, {name: asked[source] for name, source in sources.items()})
        said_next = not decoder.write and all(split.labels is None for split in renamed.splits.values())
        renamed = next_tokens(decoder, renamed) if said_next else renamed
    notes = (
        *said,
        *ordered,
        *(f"the whole numbers of {s!r} were stored as real ones." for s in stored),
        *said_of_inputs(inputs, data, sources),
    )
    contract = Contract(
        inputs, (), state=declared.state, constants=declared.constants, sequences=sequences, notes=notes,
        decoder=decoder,
    )  # fmt: skip
    found, outputs, labels, more = outputs_and_labels(renamed, model, declared, decoder, sequences=sequences)
    if said_next:
        labels = replace(labels, how="the next token of each text", notes=())
    return replace(found, contract=replace(contract, outputs=outputs, labels=labels, notes=(*notes, *more)))


def _classes(model: Model) -> tuple[str, ...]:
    """Names of the model's classes, if an output has as many: a configuration may be that of another head."""
    sizes = {None if not spec.shape else spec.shape[-1] for spec in model.outputs}
    return model.classes if sizes & {None, 1, len(model.classes)} else ()


def _check_declared(model: Model, declared: Declared) -> None:
    inputs, outputs = {s.name: s for s in model.inputs}, {s.name: s for s in model.outputs}
    for name in declared.constants:
        if name not in inputs:
            raise unknown_name("input in constants", name, inputs)
    for made, fed in declared.state.items():
        if made not in outputs:
            raise unknown_name("output in state", made, outputs)
        if fed not in inputs:
            raise unknown_name("input in state", fed, inputs)
    if len(set(declared.state.values())) < len(declared.state):
        raise SettingError(
            f"state feeds one input twice: {declared.state}.", remedy="name a different input for each output."
        )
    if declared.output and declared.output not in outputs:
        raise unknown_name("output", declared.output, outputs)


# -- pairing ----------------------------------------------------------------------------------------------------------


def _paired(free: Sequence[TensorSpec], probe: Mapping[str, NDArray[Any]], fed_back: set[str], model: Model) -> Pairs:
    """Array for each input: by name, else by the only form that fits.

    Raises:
        DatasetError: An input gets nothing, an array goes nowhere, or there are two ways.
    """
    pairs: Pairs = {}
    left = list(probe)
    for simplify in (str, plain_name):
        for spec in free:
            if spec.name in pairs:
                continue
            same = [name for name in left if simplify(name) == simplify(spec.name)]
            rivals = [s for s in free if s.name not in pairs and simplify(s.name) == simplify(spec.name)]
            if len(same) == 1 and len(rivals) == 1:
                pairs[spec.name] = (same[0], "name")
                left.remove(same[0])
    wanting = [s for s in free if s.name not in pairs and s.name not in fed_back]
    if len(wanting) == 1 and len(left) == 1:
        pairs[wanting[0].name] = (left[0], "only" if len(free) - len(fed_back) == 1 else "form")
        return pairs
    if len(wanting) != len(left):
        raise _uneven(wanting, left, probe, model)
    if wanting:
        pairs |= _by_form(wanting, left, probe)
    return pairs


def _by_form(wanting: Sequence[TensorSpec], left: Sequence[str], probe: Mapping[str, NDArray[Any]]) -> Pairs:
    able = {s.name: [n for n in left if _has_form(s, probe[n])] for s in wanting}
    ways: list[dict[str, str]] = []
    if len(wanting) <= _MOST_BY_FORM:
        _ways([s.name for s in wanting], able, {}, ways)
    if len(ways) == 1:
        return {name: (source, "form") for name, source in ways[0].items()}
    shown = "; ".join(map(str, wanting))
    given = ", ".join(f"{n}: {probe[n].dtype} {probe[n].shape[1:]}" for n in left)
    if ways:
        two = " or ".join(", ".join(f"{k}={v}" for k, v in way.items()) for way in ways)
        raise DatasetError(
            f"It is not clear which array feeds which input: {shown} could be {two}.",
            remedy="name the arrays as the model names its inputs: "
            f"{{{', '.join(f'{s.name!r}: …' for s in wanting)}}}.",
        )
    raise DatasetError(
        f"The arrays do not fit the inputs: the model takes {shown}; the data have {given}.",
        remedy="name the arrays as the model names its inputs, in its shapes: "
        f"{{{', '.join(f'{s.name!r}: …' for s in wanting)}}}.",
    )


def _ways(names: list[str], able: dict[str, list[str]], way: dict[str, str], found: list[dict[str, str]]) -> None:
    """Ways to give each input an array of its own; two are enough to know that it is not clear."""
    if len(found) > 1:
        return
    if len(way) == len(names):
        found.append(dict(way))
        return
    name = names[len(way)]
    for source in able[name]:
        if source not in way.values():
            _ways(names, able, {**way, name: source}, found)


def _uneven(
    wanting: Sequence[TensorSpec], left: Sequence[str], probe: Mapping[str, NDArray[Any]], model: Model
) -> DatasetError:
    plural = "s" if len(model.inputs) != 1 else ""
    takes = f"the model takes {len(model.inputs)} input{plural} ({'; '.join(map(str, model.inputs))})"
    has = f"the data have {len(probe)}: {', '.join(probe)}"
    if len(wanting) < len(left):
        return DatasetError(
            f"No input takes the array{'s' if len(left) > 1 else ''} {', '.join(left)}: {takes}, {has}.",
            remedy="drop them, or name them as the model names its inputs.",
        )
    ways = ["give a dictionary with one array for each input, named as the model names it"]
    for spec in wanting:
        if spec.shape is not None and not any(d is None for d in spec.shape) and len(spec.shape) < 2:
            ways.append(f"a constant: constants={{{spec.name!r}: …}} (--constant {spec.name}=…)")
        if (made := _state_of(spec, model)) is not None:
            ways.append(
                f"a state that the model carries along: state={{{made.name!r}: {spec.name!r}}} "
                f"(--state {made.name}={spec.name})"
            )
    shown = ", ".join(s.name for s in wanting)
    return DatasetError(f"Nothing feeds {shown}: {takes}, {has}.", remedy="; or ".join(ways) + ".")


def _state_of(spec: TensorSpec, model: Model) -> TensorSpec | None:
    """The output that looks like the next value of an input: of its shape, or called after it."""
    if not spec.shape or len(spec.shape) < 2:
        return None
    able = [
        o for o in model.outputs
        if o.dtype == spec.dtype and o.shape is not None and len(o.shape) == len(spec.shape)
        and all(None in (a, b) or a == b for a, b in zip(o.shape, spec.shape, strict=True))
    ]  # fmt: skip
    called = [o for o in able if plain_name(spec.name) in plain_name(o.name)]
    return next(iter(called or (able if len(able) == 1 else [])), None)


# -- forms ------------------------------------------------------------------------------------------------------------


def _has_form(spec: TensorSpec, batch: NDArray[Any]) -> bool:
    return fits_shape(spec.example_shape, batch.shape[1:]) and not _wrong_type(spec, batch)


def _wrong_type(spec: TensorSpec, batch: NDArray[Any]) -> bool:
    text = batch.dtype.kind in "SUO"
    if text != (spec.dtype == "string"):
        return True
    return _is_whole(spec) and not spec.scale and batch.dtype.kind == "f"


def _are_whole(values: NDArray[Any]) -> bool:
    """Whether real numbers are whole ones, as other tools store class numbers and tokens."""
    import numpy as np

    return values.dtype.kind == "f" and each(values, lambda part: (part == np.rint(part)).all())


def _is_whole(spec: TensorSpec) -> bool:
    return spec.dtype == "bool" or spec.dtype.lstrip("u").startswith("int")


def _with_axis(spec: TensorSpec, batch: NDArray[Any] | None, model: Model) -> TensorSpec:
    """The input with the batch on another axis where only that fits: a recurrent state (layers, batch, units)."""
    moved = replace(spec, batch_axis=batch_axis_of(spec, model))
    return moved if batch is None or fits_shape(moved.example_shape, batch.shape[1:]) else spec


def _is_sequence(spec: TensorSpec, batch: NDArray[Any]) -> bool:
    """Whether examples have one axis more than the model takes: its steps."""
    wanted = spec.example_shape
    return wanted is not None and batch.ndim == len(wanted) + 2 and fits_shape(wanted, batch.shape[2:])


def _check_input(spec: TensorSpec, batch: NDArray[Any], raw: NDArray[Any], step: Preprocess | None) -> None:
    wanted, given = spec.example_shape, batch.shape[1:]
    if spec.shape and tuple(spec.shape) == given and not fits_shape(wanted, given):
        raise DatasetError(
            f"Input {spec.name!r}: the model takes {tuple(spec.shape)} in total: one example, with no batch axis.",
            remedy="export the model with a batch as the first dimension of its inputs and outputs.",
        )
    if wanted is not None and not fits_shape(wanted, given):
        shown = tuple("any" if w is None else w for w in wanted)
        raise DatasetError(
            f"Input {spec.name!r}: the model takes examples of shape {shown}, the data give {given} after "
            "preprocessing.",
            remedy=_reshaped(wanted, given, step),
        )
    if (batch.dtype.kind in "SUO") != (spec.dtype == "string"):
        raise DatasetError(
            f"Input {spec.name!r}: the model takes {spec.dtype}, the data are {batch.dtype}.",
            remedy="give text to inputs that take text, and numbers to the others.",
        )
    if _wrong_type(spec, batch) and not (step is None and _are_whole(raw)):
        whole = raw.dtype.kind in "iub"
        raise DatasetError(
            f"Input {spec.name!r}: the model takes {spec.dtype}, the data are {batch.dtype} after preprocessing.",
            remedy="leave out scale= and offset=: they produce floats."
            if whole
            else f"give whole numbers: .astype(numpy.{spec.dtype}) where they are meant to be.",
        )
    if _is_whole(spec) and not spec.scale:
        _check_range(spec, raw if raw.dtype.kind in "iu" or step is None else batch)


def _as_whole(data: Data, specs: Mapping[str, TensorSpec]) -> tuple[Data, list[str]]:
    """The data with whole numbers as such where the model takes them and they were stored as real ones, and where."""
    changed = {
        source: spec.dtype
        for source, spec in specs.items()
        if _is_whole(spec) and not spec.scale and source not in data.preprocess
        and any(split.inputs[source].dtype.kind == "f" for split in data.splits.values())
    }  # fmt: skip
    splits = dict(data.splits)
    for source, dtype in changed.items():
        for name, split in splits.items():
            if not _are_whole(split.inputs[source]) and split.inputs[source].dtype.kind == "f":
                raise DatasetError(f"{name} holds real numbers for {source!r}, the model takes {dtype}.",
                                   remedy="give integers.")  # fmt: skip
            _check_range(specs[source], split.inputs[source])
            splits[name] = replace(split, inputs={**split.inputs, source: split.inputs[source].astype(dtype)})
    return (replace(data, splits=splits), list(changed)) if changed else (data, [])


def _reshaped(wanted: tuple[int | None, ...], given: tuple[int, ...], step: Preprocess | None) -> str:
    """What makes examples of the shape that the model takes."""
    if len(wanted) == len(given) == 1 and wanted[0] is not None and given[0] > wanted[0]:
        more = given[0] - wanted[0]
        return f"leave out the {more} column{'s' if more > 1 else ''} that the model does not take: drop= (--drop)."
    return remedy(wanted, given, step.settings if step else None)


def _check_range(spec: TensorSpec, values: NDArray[Any]) -> None:
    import numpy as np

    if spec.dtype == "bool":
        if values.dtype.kind in "iuf" and values.size and not each(values, lambda part: np.isin(part, (0, 1)).all()):
            low, high = extremes(values)
            raise DatasetError(
                f"Input {spec.name!r}: the model takes bool, the data range from {low} to {high}.",
                remedy="give True and False, or 0 and 1.",
            )
        return
    info = np.iinfo(spec.dtype)
    if not values.size or values.dtype.kind not in "iuf":
        return
    low, high = extremes(values)
    if low < info.min or high > info.max:
        raise DatasetError(
            f"Input {spec.name!r}: the model takes {spec.dtype} ({info.min} to {info.max}), the data go from "
            f"{low} to {high}.",
            remedy="give numbers in that range.",
        )


# -- what is said -----------------------------------------------------------------------------------------------------


def _meaning(
    spec: TensorSpec, pairs: Pairs, probe: Mapping[str, NDArray[Any]], preprocess: Mapping[str, Preprocess],
    declared: Declared,
) -> InputMeaning:  # fmt: skip
    if spec.name in declared.constants:
        return InputMeaning(spec.name, "", "constant", spec.dtype, shape=spec.shape)
    if spec.name not in pairs:
        axis = spec.batch_axis
        return InputMeaning(spec.name, "", "state", spec.dtype, shape=spec.shape, batch_axis=axis)
    source, how = pairs[spec.name]
    step = preprocess.get(spec.name, Preprocess())
    return InputMeaning(
        spec.name, source, how, spec.dtype, _kind_of(probe[source]), spec.shape, spec.batch_axis, step.raw,  # type: ignore[arg-type]  # one of the names of ways
        spec.scale, ", ".join(step.words()),
    )  # fmt: skip


def _carried(meaning: InputMeaning, decoder: Decoder | None) -> InputMeaning:
    """What an input of a decoder means that no array feeds."""
    if decoder is None or meaning.how != "state":
        return meaning
    return replace(meaning, how="cache" if meaning.name in (decoder.cache or {}) else "derived")


def _as_tokens(meaning: InputMeaning, data: Examples) -> InputMeaning:
    """What an input means that a tokenizer feeds."""
    source = data.asked.get(meaning.source, meaning.source)
    if source == meaning.source:
        return meaning
    step = data.preprocess[source]
    first = step.tokenizer is not None and step.tokenizer.names[0] == meaning.name  # said once
    return replace(meaning, source=source, how="tokens", steps=", ".join(step.words()) if first else "")


def _kind_of(batch: NDArray[Any]) -> str:
    return "string" if batch.dtype.kind in "SUO" else str(batch.dtype.name)
