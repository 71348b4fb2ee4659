"""Finds out how a decoder with a cache of keys and values is called, and makes what follows from its tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import Declared, InputMeaning
from deploykit.core.decoder import Decoder
from deploykit.core.errors import DatasetError
from deploykit.core.model import batch_axis_of, plain_name
from deploykit.data.tokens.folder import said

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.core.model import Model, TensorSpec
    from deploykit.data.examples import Data

_PAST, _PRESENT = "past", "present"
_KINDS = re.compile(r"(past|present)(_key_values|_keys_values|_kv)?")
_BRANCH = "use_cache_branch"
_MASKS, _POSITIONS = ("attention_mask", "mask"), ("position_ids", "positions", "position")
#: Fields of a configuration that say how many tokens a text may have.
_LENGTHS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")
#: Label of a place that has none.
_NONE = -1
#: Examples whose labels are made at once.
_AT_ONCE = 1024


def decoder_of(model: Model, declared: Declared) -> tuple[Decoder | None, Declared]:
    """How a decoder is called, and what is declared with its cache among the state.

    An input belongs to a cache when the user says that an output feeds it, or its name says so (``past…`` and
    ``present…``, as Hugging Face's exporters call them), and it has a free axis beside the batch.

    Returns:
        None where the model carries no cache; a decoder knows no texts yet, see `writing`.

    Raises:
        DatasetError: Tokens are to be written, and the model carries no cache or takes no tokens.
    """
    state = declared.state or _by_name(model)
    inputs = {spec.name: spec for spec in model.inputs}
    cache = {fed: axis for fed in state.values() if fed in inputs and (axis := _growing(inputs[fed], model))}
    whole = [s for s in model.inputs if _is_row(s) and s.name not in declared.constants]
    named = {kind: _called(whole, names) for kind, names in (("mask", _MASKS), ("positions", _POSITIONS))}
    tokens = [s.name for s in whole if s.name not in named.values()]
    if _BRANCH in inputs and declared.generate:
        raise DatasetError(
            f"The model has two graphs, one with a cache and one without, and {_BRANCH!r} chooses between them: "
            f"deploykit cannot write generate={declared.generate} tokens with it.",
            remedy="export the decoder with its cache alone: optimum-cli export onnx --no-post-process.",
        )
    known = [name for name in tokens if plain_name(name) in ("input_ids", "tokens", "ids")] or tokens
    if not cache or len(known) != 1:
        if declared.generate:
            reason = "has no input of token numbers" if cache else "carries no cache from token to token"
            raise DatasetError(
                f"The model {reason}, so it cannot write generate={declared.generate} tokens; it takes "
                f"{'; '.join(map(str, model.inputs))}.",
                remedy="export the decoder with its cache as inputs (past_key_values.0.key, …) and outputs "
                "(present.0.key, …), or declare them with state= (--state OUTPUT=INPUT).",
            )
        return None, declared
    found = Decoder(known[0], named["mask"], named["positions"], cache, declared.generate, *_said(model))
    return found, replace(declared, state=state)


def _by_name(model: Model) -> dict[str, str]:
    """Output → input of the same layer's keys or values; nothing where one of the inputs has no output."""
    made = {_layer(s.name): s.name for s in model.outputs if _PRESENT in s.name.lower()}
    fed = {_layer(s.name): s.name for s in model.inputs if _PAST in s.name.lower() and _growing(s, model)}
    return {made[layer]: name for layer, name in fed.items()} if fed and fed.keys() <= made.keys() else {}


def _layer(name: str) -> str:
    return plain_name(_KINDS.sub("", name.lower()))


def _growing(spec: TensorSpec, model: Model) -> int:
    """The only free axis beside the batch, 0 where there is none."""
    if spec.shape is None or len(spec.shape) < 3 or spec.dtype not in ("float32", "float16", "bfloat16"):
        return 0
    batch = batch_axis_of(spec, model)
    free = [axis for axis, size in enumerate(spec.shape) if size is None and axis != batch]
    return free[0] if len(free) == 1 else 0


def _is_row(spec: TensorSpec) -> bool:
    whole = spec.dtype.lstrip("u").startswith("int") or spec.dtype == "bool"
    return whole and spec.shape is not None and len(spec.shape) == 2 and spec.shape[1] is None


def _called(specs: Sequence[TensorSpec], names: tuple[str, ...]) -> str:
    return next((s.name for s in specs if plain_name(s.name) in names), "")


def _said(model: Model) -> tuple[tuple[int, ...], int]:
    """Tokens that end a text, and how many it may have, as the model's folder says."""
    if not model.hub:
        return (), 0
    folder = Path(model.hub)
    config = said(folder, "config.json")
    ends = said(folder, "generation_config.json").get("eos_token_id", config.get("eos_token_id"))
    most = next((v for name in _LENGTHS if type(v := config.get(name)) is int and v > 0), 0)
    return tuple(e for e in (ends if isinstance(ends, list) else [ends]) if type(e) is int), most


def writing(decoder: Decoder, data: Data, sources: Mapping[str, str]) -> Decoder:
    """The decoder with the tokenizer of the data, if they are text.

    Args:
        decoder: How it is called.
        data: The data, which have a contract's names.
        sources: Input of the model → raw input of the data.

    Raises:
        DatasetError: Examples and what is to be written are longer than the model's texts may be.
    """
    step = data.preprocess.get(sources.get(decoder.tokens, ""))
    tokenizer = None if step is None else step.tokenizer
    length = data.batch("evaluation", slice(0, 1))[decoder.tokens].shape[1]
    if decoder.most and length + decoder.write > decoder.most:
        raise DatasetError(
            f"Examples have up to {length} tokens, and {decoder.write} are to be written; the model's texts have at "
            f"most {decoder.most}.",
            remedy="give shorter examples (max_length= of dk.Tokenizer.open), or a smaller generate= (--generate).",
        )
    return decoder if tokenizer is None or not decoder.write else replace(decoder, tokenizer=tokenizer.content)


def next_tokens(decoder: Decoder, data: Data) -> Data:
    """The data with the next token of each place as its label, -1 at the end and where there is padding."""
    import numpy as np

    splits = {}
    for name, split in data.splits.items():
        rows: list[NDArray[Any]] = [np.zeros((0, 1), np.int32)]
        for start in range(0, len(split), _AT_ONCE):
            batch = data.batch(name, slice(start, start + _AT_ONCE))
            tokens = batch[decoder.tokens]
            there = batch.get(decoder.mask, np.ones_like(tokens)).astype(bool)
            labels: NDArray[Any] = np.full(tokens.shape, _NONE, np.int32)
            labels[:, :-1] = np.where(there[:, :-1] & there[:, 1:], tokens[:, 1:], _NONE)
            rows.append(labels)
        width = max(part.shape[1] for part in rows)
        parts = [np.pad(p, ((0, 0), (0, width - p.shape[1])), constant_values=_NONE) for p in rows]
        splits[name] = replace(split, labels=np.concatenate(parts))
    return replace(data, splits=splits)


def completed(
    decoder: Decoder, inputs: Sequence[InputMeaning], feeds: Mapping[str, NDArray[Any]], past: int
) -> dict[str, NDArray[Any]]:
    """Feeds with the mask over cached tokens and the places of the new ones, where a caller has not given them.

    Args:
        decoder: How the model is called.
        inputs: What its inputs mean.
        feeds: Input name → examples, batch first.
        past: Tokens in the cache.
    """
    import numpy as np

    found = dict(feeds)
    tokens = found[decoder.tokens]
    count, length = tokens.shape[:2]
    given = found.get(decoder.mask, np.ones((count, length), np.int64))
    mask = given if given.shape[1] != length else np.concatenate([np.ones((count, past), given.dtype), given], axis=1)
    if decoder.mask:
        found[decoder.mask] = mask
    asked = {meaning.name for meaning in inputs if meaning.how not in ("tokens", "derived")}
    if decoder.positions and not (decoder.positions in found and decoder.positions in asked):
        places = np.maximum(np.cumsum(mask.astype(np.int64), axis=1) - 1, 0)
        found[decoder.positions] = places[:, -length:]
    return found
