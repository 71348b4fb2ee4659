"""What the files of a Hugging Face folder say of its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploykit.core.errors import DatasetError, SettingError
from deploykit.core.extras import needs, require
from deploykit.core.files import read_small
from deploykit.core.serial import parse
from deploykit.data.tokens.content import packed

TOKENIZER = "tokenizer.json"
_MOST_BYTES = 64 << 20
#: Longer than any model's positions: what folders say that know no limit.
_NO_LIMIT = 1_000_000
#: Models whose positions begin after the number of the padding token.
_OFFSET = ("roberta", "xlm-roberta", "camembert", "longformer", "xlm-roberta-xl", "mpnet", "data2vec-text", "ibert")
_OTHERS = ("vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model")


def read_tokenizer(path: Path, max_length: int | None) -> dict[str, Any]:
    """What `Tokenizer` holds; see `Tokenizer.open` for arguments and errors."""
    file = path / TOKENIZER if path.is_dir() else path
    if not file.is_file():
        raise _missing(path, file)
    if max_length is not None and (type(max_length) is not int or max_length < 1):
        raise SettingError(f"Tokenizer: max_length must be a whole number, 1 or more, got {max_length!r}.")
    needs("tokenizers")
    content = read_small(file, _MOST_BYTES, "the tokenizer", DatasetError)
    plain = _object(file, content)
    try:
        built = require("tokenizers").Tokenizer.from_str(content.decode("utf-8"))
    except Exception as error:  # the package raises a bare Exception
        raise DatasetError(f"{file} is not a tokenizer: {error}.", remedy="save or download it again.") from error
    config, own = said(file.parent, "config.json"), said(file.parent, "tokenizer_config.json")
    numbers = built.get_vocab(with_added_tokens=True)
    most, why = _length(file.parent, plain, config, own, max_length)
    padding = plain.get("padding") or {}
    side = own.get("padding_side") or str(padding.get("direction") or "right").lower()
    return {
        "content": packed(content),
        "max_length": most,
        "why": why,
        "kind": str((plain.get("model") or {}).get("type") or "BPE"),
        "tokens": max(numbers.values(), default=-1) + 1,
        "pad": _pad(plain, config, own, numbers),
        "side": "left" if side == "left" else "right",
    }


def said(folder: Path, name: str) -> dict[str, Any]:
    """What a JSON file of a folder says, nothing where there is none.

    Raises:
        DatasetError: It is too large, or not JSON.
    """
    file = folder / name
    return _object(file, read_small(file, _MOST_BYTES, name, DatasetError)) if file.is_file() else {}


def _object(file: Path, content: bytes) -> dict[str, Any]:
    try:
        found = parse(content)
    except ValueError as error:
        raise DatasetError(f"{file} is not JSON: {error}.", remedy="save or download it again.") from error
    if not isinstance(found, dict):
        raise DatasetError(f"{file} holds no JSON object.", remedy="save or download it again.")
    return found


def _missing(path: Path, file: Path) -> DatasetError:
    if not path.exists():
        return DatasetError(f"{path}: no such file or folder.", remedy="pass a tokenizer.json, or its folder.")
    others = [name for name in _OTHERS if (path / name).is_file()]
    if others:
        return DatasetError(
            f"{path} has {', '.join(others)} and no {file.name}: deploykit reads tokenizers in that form alone.",
            remedy='make it: python -c "from transformers import AutoTokenizer; '
            f"AutoTokenizer.from_pretrained('{path}').save_pretrained('{path}')\".",
        )
    return DatasetError(f"{path} has no {file.name}.", remedy="pass the folder that the tokenizer was saved in.")


def _length(
    folder: Path, plain: dict[str, Any], config: dict[str, Any], own: dict[str, Any], given: int | None
) -> tuple[int, str]:
    """Most tokens of a text, and who says so."""
    positions = _whole(config.get("max_position_embeddings"))
    if positions and config.get("model_type") in _OFFSET:
        positions -= (_whole(config.get("pad_token_id")) or 1) + 1
    if given is not None:
        if positions and given > positions:
            raise SettingError(
                f"Texts of max_length={given} are too long: config.json knows {positions} positions.",
                remedy=f"give {positions} or less.",
            )
        return given, "as given"
    ways = (
        (said(folder, "sentence_bert_config.json").get("max_seq_length"), "sentence_bert_config.json"),
        (own.get("model_max_length"), "tokenizer_config.json"),
        ((plain.get("truncation") or {}).get("max_length"), TOKENIZER),
        (positions, "config.json"),
    )
    for value, name in ways:
        number = _whole(value)
        if number and number <= _NO_LIMIT:
            return (positions, "config.json") if positions and positions < number else (number, name)
    raise DatasetError(
        f"Nothing in {folder} says how many tokens a text may have.",
        remedy="say it: dk.Tokenizer.open(path, max_length=128) (--max-length 128).",
    )


def _whole(value: Any) -> int:
    """A number as a whole one, 0 where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e18:
        return 0
    return int(value)


def _pad(plain: dict[str, Any], config: dict[str, Any], own: dict[str, Any], numbers: dict[str, int]) -> int:
    """The token that fills rows up; that of the end where a tokenizer has none of its own: the mask hides it."""
    names = [own.get("pad_token"), (plain.get("padding") or {}).get("pad_token"), "[PAD]", "<pad>"]
    for name in (*names, own.get("eos_token")):
        text = name.get("content") if isinstance(name, dict) else name
        if isinstance(text, str) and text in numbers:
            return numbers[text]
    return _whole(config.get("pad_token_id"))
