"""Hugging Face folders: which file of one is read, and what its ``config.json`` says of the model."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploykit.core.errors import ModelFileError, UnsupportedModelError
from deploykit.core.files import read_small
from deploykit.core.serial import parse

_CONFIG = "config.json"
_MOST_BYTES = 16 << 20
#: Keys by which the configuration of a model of the Hub is known.
_KEYS = ("model_type", "architectures", "transformers_version")
#: Where exports put the one graph of a model.
_USUAL = ("model.onnx", "onnx/model.onnx")
_WEIGHTS = (".safetensors", ".bin", ".msgpack", ".h5", ".pt", ".pth", ".ckpt")
#: Names of classes that say nothing.
_NAMELESS = re.compile(r"LABEL_[0-9]+")
#: How architectures end, and what optimum calls their task.
_TASKS = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMultipleChoice": "multiple-choice",
    "ForMaskedLM": "fill-mask",
    "ForCausalLM": "text-generation-with-past",
    "LMHeadModel": "text-generation-with-past",
    "ForConditionalGeneration": "text2text-generation-with-past",
    "ForImageClassification": "image-classification",
    "ForObjectDetection": "object-detection",
    "ForSemanticSegmentation": "semantic-segmentation",
    "ForAudioClassification": "audio-classification",
    "ForCTC": "automatic-speech-recognition",
}


@dataclass(frozen=True)
class Located:
    """A model and what lies beside it.

    Attributes:
        path: What is read.
        folder: The Hugging Face folder, "" for none.
        classes: Names of its classes by index.
        warnings: What else there was.
    """

    path: str | Path
    folder: str = ""
    classes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def located(given: str | os.PathLike[str]) -> Located:
    """The model that a path names: a file or folder, or the one in a Hugging Face folder.

    Raises:
        ModelFileError: A folder holds several models and none is the usual one, or its ``config.json`` is not JSON.
        UnsupportedModelError: A folder holds weights without a graph; names the command that exports them.
    """
    text = os.fspath(given)
    path = Path(os.path.abspath(Path(text).expanduser())) if text else Path()  # noqa: PTH100  resolve() would follow links
    if not text or "\0" in text:
        return Located(text)  # refused where its bytes are looked at
    if not path.is_dir():
        folders = [path.parent, *([path.parent.parent] if path.parent.name == "onnx" else [])]
        found = next((f for f in folders if _config(f) is not None), None)
        return Located(path) if found is None else Located(path, str(found), _classes(_config(found)))
    config = _config(path)
    if config is None:
        return Located(path)
    chosen, others = _chosen(path, config)
    said = (f"took {_shown(path, chosen)}; also there: {', '.join(others)}.",) if others else ()
    return Located(chosen, str(path), _classes(config), said)


def _config(folder: Path) -> dict[str, Any] | None:
    """The configuration of a Hugging Face folder, None for any other folder."""
    file = folder / _CONFIG
    if not file.is_file():
        return None
    try:
        found = parse(read_small(file, _MOST_BYTES, "the model's configuration", ModelFileError))
    except ValueError as error:
        raise ModelFileError(f"{file} is not JSON: {error}.", remedy="save or download it again.") from error
    return found if isinstance(found, dict) and any(key in found for key in _KEYS) else None


def _chosen(folder: Path, config: dict[str, Any]) -> tuple[Path, list[str]]:
    """The model of a folder, and the names of what else could be read."""
    graphs = sorted([*folder.glob("*.onnx"), *folder.glob("onnx/*.onnx")])
    lite = sorted(folder.glob("*.tflite"))
    saved = [f for f in (folder, folder / "saved_model", folder / "saved_model/1") if (f / "saved_model.pb").is_file()]
    usual = [folder / name for name in _USUAL if folder / name in graphs]
    able = [*graphs, *lite, *saved]
    chosen = (usual[:1] or (graphs if len(graphs) == 1 else [])) if graphs else able if len(able) == 1 else []
    if chosen:
        return chosen[0], [_shown(folder, other) for other in able if other != chosen[0]]
    if able:
        names = [_shown(folder, one) for one in able]
        raise ModelFileError(
            f"{folder} holds {len(able)} models, and none is called {' or '.join(_USUAL)}: {', '.join(names)}.",
            remedy=f"pass one of them, for example {able[0]}.",
        )
    weights = sorted(f.name for f in folder.iterdir() if f.suffix in _WEIGHTS and f.is_file())
    if not weights:
        raise ModelFileError(
            f"{folder} has a {_CONFIG} and no model.", remedy="download or export the whole model, with model.onnx."
        )
    raise _only_weights(folder, config, weights)


def _only_weights(folder: Path, config: dict[str, Any], weights: Sequence[str]) -> UnsupportedModelError:
    named = config.get("architectures")
    architecture = str(named[0]) if isinstance(named, list) and named else ""
    task = next((task for end, task in _TASKS.items() if architecture.endswith(end)), "feature-extraction")
    held = ", ".join(weights[:3]) + (", …" if len(weights) > 3 else "")
    of = f" of a {architecture}" if architecture else ""
    return UnsupportedModelError(
        f"{folder} holds weights{of} ({held}) and no graph: what to compute with them is code of their framework.",
        remedy="export it to ONNX: pip install 'optimum-onnx[onnxruntime]' && optimum-cli export onnx "
        f"--model {folder} --task {task} {folder}-onnx; then load {folder}-onnx. Or call torch.onnx.export(model, …), "
        "and save tokenizer.json and config.json beside the file.",
    )


def _classes(config: dict[str, Any] | None) -> tuple[str, ...]:
    """Class names by index; none where they are missing, have gaps, or say nothing."""
    found = (config or {}).get("id2label")
    if not isinstance(found, dict) or set(found) != set(map(str, range(len(found)))):
        return ()
    names = tuple(str(found[str(i)]) for i in range(len(found)))
    return () if all(map(_NAMELESS.fullmatch, names)) or len(set(names)) < len(names) else names


def _shown(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix() if path != folder else "saved_model.pb"
