"""``dk.load``: from a path, or a model that lives in the kernel, to a `Model`."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploykit.core import digest, errors
from deploykit.core.errors import ModelFileError, SettingError
from deploykit.core.model import Model, TensorSpec
from deploykit.loading._contract import FORMATS, Format, Saved, Summary
from deploykit.loading._cut import Ends, ends_of, part_of
from deploykit.loading._hub import located
from deploykit.sandbox import gate
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Report, Task

#: The task function that reads a file.
READER = "deploykit.loading._load:read_summary"
#: Reading a file's structure: the child is killed after this many seconds, or when it holds this many bytes.
DEADLINE_S = 60.0
MEMORY_BYTES = 6 << 30
#: The same where the framework must load the whole model.
FULL_DEADLINE_S = 300.0
FULL_MEMORY_BYTES = 8 << 30


@dataclasses.dataclass(frozen=True)
class _Limits:
    """Limits of reading that the user has set; 0: the usual ones."""

    timeout_s: float = 0.0
    memory_bytes: int = 0


def load(
    model: Any,
    *,
    imports: Sequence[str] = (),
    trusted: bool = False,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    cancel: threading.Event | None = None,
    timeout: float | None = None,
    memory: float | None = None,
    example: Any = None,
) -> Model:
    """Read a trained model without running it.

    The file is checked as bytes here and parsed in a child process, so a broken or hostile file cannot harm the
    kernel. The format is recognized by content, never by the file name.

    Args:
        model: Path of a ``.keras``, ``.h5``, ``.onnx``, ``.tflite``, ``.pt2``, TorchScript ``.pt``, frozen ``.pb``,
            ``.prototxt`` or ``.pmml`` file, of a SavedModel folder, or of a Hugging Face folder with an ONNX file; or
            an object of this process, which is saved into a cache folder: a ``keras.Model``, an ``onnx.ModelProto``, a
            ``tf.Module`` with a signature, a ``torch.nn.Module`` (with ``example``), a fitted estimator of
            scikit-learn, XGBoost or LightGBM, or the bytes of a TFLite file. A `Model` is returned unchanged.
        imports: Names of modules that define the model's custom layers; child processes also import them.
        trusted: Allow code inside the file to run (Lambda layers, operators that touch files). Only for your own files.
        inputs: Names of the tensors that are inputs, in order, of frozen graphs, which do not say so, and of Caffe
            networks (blobs); what is between them and the outputs is kept as a file of its own in a cache folder.
            Empty: those of the network, or guessed, with a warning.
        outputs: The same for outputs.
        cancel: Set it from another thread to stop reading; the child process is killed.
        timeout: Seconds after which reading is stopped; None: 60, or 300 if a framework must load the whole model.
        memory: Gigabytes the child process may use; None or 0: 6.4, or 8.6 if a framework must load the model.
        example: What a ``torch.nn.Module`` takes, with the batch first: an array, a tuple of them, or a dict of them by
            name. The module is exported with it; the batch stays free, other sizes become those of the example. The
            answers of an estimator are compared on it with those of its conversion.

    Raises:
        Cancelled: ``cancel`` was set.
        ModelFileError: The file is missing, damaged, hostile or not a model.
        UnsafeModelError: The model contains code and is not trusted.
        UnsupportedModelError: The model uses unknown classes or operators.
        SettingError: ``model`` or ``imports`` has the wrong type, or a module cannot be imported.
        MissingExtraError: A package needed to read it is not installed.

    Example:
        >>> model = dk.load("models/fashion_cnn.onnx")
        >>> print(model.inputs[0], "→", model.outputs[0])
        image: float32 (?, 28, 28, 1) → class: float32 (?, 10)
    """
    if isinstance(model, Model):
        return model
    modules = _modules(imports)
    limits, ends = _limits(timeout, memory), ends_of(inputs, outputs)
    if isinstance(model, str | os.PathLike):
        if example is not None:
            raise SettingError(
                "The setting example has no effect on files.", remedy="pass it with an object of this process."
            )
        return _load(model, "", modules, trusted, cancel, limits, ends)
    saved = _saved(model, example)
    modules = (*modules, *(m for m in saved.imports if m not in modules))
    try:
        return _load(saved.path, saved.name, modules, trusted, cancel, limits, ends)
    except errors.DeploykitError as error:  # the user knows the model by its name, not by its place in the cache
        error.message = error.message.replace(str(saved.path), f"the model {saved.name!r}")
        raise


def _saved(thing: object, example: Any) -> Saved:
    """A live object as a file, by the format that takes it."""
    for form in FORMATS.all():
        if form.takes(thing):
            form.check_installed()
            return form.save(thing) if example is None else form.save_with(thing, example)
    kind, known = type(thing), [f.live for f in FORMATS.all() if f.live]
    raise SettingError(
        f"Expected a model, got {kind.__module__}.{kind.__qualname__}.",
        remedy=f"pass the path of a model file or folder, or {', '.join(known[:-1])} or {known[-1]}.",
    )


def _load(
    path: str | os.PathLike[str],
    origin: str,
    modules: tuple[str, ...],
    trusted: bool,
    cancel: threading.Event | None,
    limits: _Limits,
    ends: Ends,
) -> Model:
    found = located(path)
    passed = gate.check(found.path)
    form = format_of(passed)
    form.check_installed()
    if any(ends):
        part = part_of(
            passed.path, form, ends, trusted=trusted, cancel=cancel, timeout_s=limits.timeout_s,
            memory_bytes=limits.memory_bytes,
        )  # fmt: skip
        passed, origin = gate.check(part), origin or str(passed.path)
    warnings = [*found.warnings, *_suffix_warnings(passed.path, form)]
    if modules and form.full_group is None:
        warnings.append(f"imports={list(modules)} has no effect on {form.label} files.")
        modules = ()
    summary = _summary(passed.path, form, modules, trusted, cancel, limits)
    inputs, outputs, flaws = _check_specs(summary)
    return Model(
        path=str(passed.path),
        format=form.name,
        inputs=inputs,
        outputs=outputs,
        layers=summary.layers,
        parameter_count=summary.parameter_count,
        size_bytes=passed.size_bytes + sum(Path(f).stat().st_size for f in summary.extra_files),
        digest=_digest(passed.path, summary.extra_files),
        imports=modules,
        trusted=trusted,
        warnings=(*warnings, *summary.warnings, *flaws, *_state_warning(summary)),
        origin=origin,
        extra_files=summary.extra_files,
        operator_set=summary.operator_set,
        stateful=summary.stateful,
        classes=found.classes,
        hub=found.folder,
        named_inputs=ends[0],
        named_outputs=ends[1],
    )


def read_summary(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: the summary of a file, by its format's reader."""
    del report
    form = FORMATS.get(arguments["format"])
    reader = form.read_fully if arguments["fully"] else form.read
    found = reader(Path(arguments["path"]), trusted=arguments["trusted"], imports=tuple(arguments["imports"]))
    layers = tuple(x if x.kind else dataclasses.replace(x, kind=form.kind_of(x)) for x in found.layers)
    return dataclasses.replace(found, layers=layers).to_json()


def _limits(timeout: float | None, memory: float | None) -> _Limits:
    if timeout is not None and not timeout > 0:
        raise SettingError(
            f"timeout must be more than 0 seconds, got {timeout!r}.", remedy="leave it out for the default."
        )
    if memory is not None and not memory >= 0:
        raise SettingError(f"memory must be at least 0 GB (0: the default), got {memory!r}.")
    return _Limits(timeout or 0.0, int((memory or 0.0) * 1e9))


def _modules(imports: Sequence[str]) -> tuple[str, ...]:
    if isinstance(imports, str) or not all(isinstance(m, str) for m in imports):
        raise SettingError(f"imports must be a list of module names, got {imports!r}.", remedy='imports=["my_layers"].')
    return tuple(imports)


def format_of(passed: gate.Passed) -> Format:
    """The format whose content this is."""
    candidates = [f for f in FORMATS.all() if f.is_folder == passed.is_folder]
    for form in candidates:
        if form.matches(passed.path, passed.head):
            return form
    path = passed.path
    known = "; ".join(f"{f.label} ({', '.join(f.suffixes) or 'folder'})" for f in FORMATS.all())
    if passed.is_folder:
        raise _no_model_folder(path, known)
    named = next((f for f in candidates if path.suffix.lower() in f.suffixes), None)
    begins = gate.describe(passed.head)
    if (known_as := next((m for f in FORMATS.all() if (m := f.mistake(path, passed.head))), None)) is not None:
        raise known_as
    if named is not None:
        raise ModelFileError(
            f"{path}: named {path.suffix}, but the content is not {named.label}: {begins} "
            f"({passed.size_bytes:,} bytes).",
            remedy="it is damaged or in another format: download, copy or export it again.",
        )
    raise ModelFileError(f"{path}: not a model in a known format: {begins}.", remedy=f"known formats: {known}.")


def _no_model_folder(path: Path, known: str) -> ModelFileError:
    suffixes = {suffix for form in FORMATS.all() for suffix in form.suffixes}
    entries = sorted(path.iterdir())
    models = [e.name for e in entries if e.suffix.lower() in suffixes or (e / "saved_model.pb").exists()]
    held = ", ".join(e.name for e in entries[:6]) or "nothing"
    remedy = f"pass one of the models in it: {', '.join(models[:6])}." if models else f"known formats: {known}."
    return ModelFileError(
        f"{path}: a folder without a model: no saved_model.pb; it holds {held}{'…' if len(entries) > 6 else ''}.",
        remedy=remedy,
    )


def _suffix_warnings(path: Path, form: Format) -> list[str]:
    suffix = path.suffix.lower()
    if suffix in form.suffixes:
        return []
    owner = next((f for f in FORMATS.all() if suffix in f.suffixes), None)
    return [f"named {path.suffix}, but the content is {form.label}."] if owner is not None else []


def _summary(
    path: Path,
    form: Format,
    imports: tuple[str, ...],
    trusted: bool,
    cancel: threading.Event | None,
    limits: _Limits,
) -> Summary:
    summary = _read(path, form, imports, trusted, cancel, limits, fully=False)
    if summary.outputs:
        return summary
    full = _read(path, form, imports, trusted, cancel, limits, fully=True)
    kept = tuple(w for w in summary.warnings if w not in full.warnings)
    return dataclasses.replace(full, warnings=(*kept, *full.warnings), extra_files=summary.extra_files)


def _read(
    path: Path,
    form: Format,
    imports: tuple[str, ...],
    trusted: bool,
    cancel: threading.Event | None,
    limits: _Limits,
    *,
    fully: bool,
) -> Summary:
    task = Task(
        READER,
        {"format": form.name, "path": str(path), "trusted": trusted, "imports": list(imports), "fully": fully},
        group=(form.full_group or form.group) if fully else form.group,
        deadline_s=limits.timeout_s or (FULL_DEADLINE_S if fully else DEADLINE_S),
        memory_bytes=limits.memory_bytes or (FULL_MEMORY_BYTES if fully else MEMORY_BYTES),
        imports=imports if fully else (),
        name=f"reading {path.name}",
    )
    try:
        return Summary.from_json(shared().run(task, cancel=cancel))
    except errors.CandidateCrash as error:
        raise ModelFileError(
            f"{path}: the file is corrupt: the parser died ({error.death}).",
            remedy="download, copy or export it again.",
            log=error.log,
        ) from error
    except errors.CandidateTimeout as error:
        raise ModelFileError(
            f"{path}: reading it took longer than {task.deadline_s:g} s.",
            remedy="raise timeout=; if that does not help, the file is corrupt or malicious: export it again.",
            log=error.log,
        ) from error
    except errors.CandidateMemory as error:
        raise ModelFileError(
            f"{path}: reading it took more than {_size(task.memory_bytes)} of memory.",
            remedy="raise memory=; if that does not help, the file is corrupt or malicious: export it again.",
            log=error.log,
        ) from error
    except errors.ProcessLost as error:
        error.message = f"{path}: {error.message}"
        raise
    except errors.CandidateError as error:
        raise ModelFileError(
            f"{path}: it cannot be read: {error.message}", remedy="export it again.", log=error.log
        ) from error
    except errors.DeploykitError as error:
        error.log = ""  # the message says it all
        raise


def _size(count: int) -> str:
    return f"{count / 1e9:.3g} GB" if count % (1 << 30) else f"{count >> 30} GiB"


def _check_specs(summary: Summary) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...], list[str]]:
    """The signature with negative dimensions made free, and what is odd about it."""
    flaws: list[str] = []

    def check(spec: TensorSpec) -> TensorSpec:
        if spec.shape is None:
            return spec
        if any(d is not None and d < 0 for d in spec.shape):
            flaws.append(f"{spec.name!r} has a negative dimension {spec.shape}; it is treated as free.")
        if 0 in spec.shape:
            flaws.append(f"{spec.name!r} has a dimension of size zero {spec.shape}; no data can fit it.")
        return dataclasses.replace(spec, shape=tuple(None if d is None or d < 0 else d for d in spec.shape))

    return tuple(map(check, summary.inputs)), tuple(map(check, summary.outputs)), flaws


def _state_warning(summary: Summary) -> list[str]:
    if not summary.stateful:
        return []
    names = ", ".join(map(repr, summary.stateful[:6]))
    keep = "keeps" if len(summary.stateful) == 1 else "keep"
    more = f" and {len(summary.stateful) - 6} more" if len(summary.stateful) > 6 else ""
    return [f"{names}{more} {keep} state between calls; each example is run with fresh state."]


def _digest(path: Path, extra_files: tuple[str, ...]) -> str:
    own = digest.path_digest(path)
    if not extra_files:
        return own
    parts = {os.path.relpath(f, path.parent): digest.file_digest(Path(f)) for f in extra_files}
    return digest.json_digest([own, parts])
