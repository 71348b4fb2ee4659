"""Makes an artifact of a model that deploykit did not export, so that it can be served like any other.

There are no golden outputs of a measured model, so it is proved by loading and warming it up: a child process calls it
(see `deploykit.serving.sources._adopting`), and what it answered then is what it must answer in the server.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from deploykit._version import __version__
from deploykit.artifacts.adopted import Adopted, AdoptedSignature
from deploykit.artifacts.artifact import MANIFEST, Artifact, Manifest, files_of
from deploykit.artifacts.prove import prove, structure
from deploykit.core.candidate import Recipe, Target
from deploykit.core.digest import file_digest
from deploykit.core.errors import ServeError
from deploykit.core.serial import to_plain
from deploykit.core.settings.serving import ServingSettings
from deploykit.exporters._wheel import requirements
from deploykit.loading._contract import Format
from deploykit.loading._load import format_of
from deploykit.runtimes._contract import RUNTIMES, Runtime
from deploykit.sandbox import gate
from deploykit.sandbox.handle import Child
from deploykit.sandbox.scratch import scratch
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task

#: Name of the layout in the manifest of an adopted model.
LAYOUT = "adopted"
#: Where its golden data are.
_GOLDEN = "golden"
#: Files up to this size are copied where they cannot be linked: what is linked cannot be changed under the server.
_MOST_COPIED_BYTES = 64 << 20
_DEADLINE_S = 300.0
#: What a version's folder may hold as its model, in Triton's and TensorFlow Serving's layouts, the first one found.
_USUAL = ("saved_model.pb", "model.savedmodel", "model.onnx", "model.tflite")


def adopt(
    path: str | Path,
    name: str,
    *,
    prefer_tflite: bool = False,
    classes: Mapping[str, Sequence[str]] | None = None,
    settings: ServingSettings | None = None,
    trusted: bool = False,
) -> Artifact:
    """Make an artifact of a model that deploykit did not export, and prove it.

    The folder holds links to the model's files where the file system has such, and is removed when the artifact is not
    used any more.

    Args:
        path: A model file or SavedModel folder, or the folder of one version of a model.
        name: Name to serve it by.
        prefer_tflite: Of a SavedModel and a TFLite file in one folder, take the latter.
        classes: Names of classes by index, by the name of the output that scores them.
        settings: How it will be served; it is proved with them.
        trusted: Allow operators that touch files or run code.

    Raises:
        ServeError: The folder holds no model that can be served as it is, or its answers change from call to call.
        ModelFileError: It is damaged or hostile.
        UnsupportedModelError: It cannot be served; says why.
        MissingExtraError: Its runtime is not installed.
    """
    source = find_model(Path(path), prefer_tflite=prefer_tflite)
    form = format_of(gate.check(source))
    runtime = _runtime(form, source)
    folder = Path(tempfile.mkdtemp(prefix=f"{LAYOUT}-", dir=scratch()))
    try:
        with shared().once(runtime.group) as child:
            extra = structure(source, form.name, trusted=trusted, child=child).extra_files
            model = _laid_out(source, folder, extra)
            artifact = _called(folder, model, name, form, runtime, child, classes or {})
            problems = prove(artifact.served_with(settings), trusted=trusted, child=child).problems
        if problems:
            raise ServeError(
                f"{source} cannot be served: {' '.join(problems)}",
                remedy="export it again without what makes its answers differ from time to time.",
            )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(artifact, shutil.rmtree, folder, ignore_errors=True)
    return artifact


def find_model(path: Path, *, prefer_tflite: bool = False) -> Path:
    """The model in a version's folder, or the path itself if it is one.

    Raises:
        ServeError: There is none, or there are several.
    """
    if not path.is_dir():
        return path
    usual = sorted(_USUAL, key=lambda name: not (prefer_tflite and name.endswith(".tflite")))
    for name in usual:
        if (found := path / name).exists():
            if (inner := found / name).is_file():  # with the files of its weights
                return inner
            return path if name == "saved_model.pb" else found
    files = sorted(file for file in path.iterdir() if file.suffix in (".onnx", ".tflite") and file.is_file())
    if len(files) == 1:
        return files[0]
    there = ", ".join(sorted(one.name for one in path.iterdir())[:8]) or "nothing"
    raise ServeError(
        f"{path}: expected a model ({', '.join(_USUAL)}, or one file of ONNX or TFLite) or an exported artifact; "
        f"there is {there}.",
        remedy="put one model into each version's folder; others than these, export with deploykit export.",
    )


def _runtime(form: Format, source: Path) -> Runtime:
    """The runtime whose own format it is."""
    able = [one for one in RUNTIMES.all() if form.name in one.accepts]
    if not able:
        raise ServeError(
            f"{source}: no runtime serves {form.label} files as they are.",
            remedy="convert it: deploykit sweep, then deploykit export.",
        )
    runtime = next((one for one in able if form.name in one.native_to), able[0])
    runtime.check_installed()
    return runtime


def _laid_out(source: Path, folder: Path, extra_files: Iterable[str]) -> str:
    """Put a model into a folder: its name there."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", source.name) or "model"
    if source.is_dir():
        _put_tree(source, folder / name)
    else:
        _put(source, folder / name)
    for extra in extra_files:
        _put(source.parent / extra, folder / extra)
    (folder / _GOLDEN).mkdir(exist_ok=True)
    return name


def _called(
    folder: Path, model: str, name: str, form: Format, runtime: Runtime, child: Child,
    classes: Mapping[str, Sequence[str]],
) -> Artifact:  # fmt: skip
    """The artifact that calling a model makes of it."""
    target = Target(runtime.name)
    task = Task(
        "deploykit.serving.sources._adopting:adopt_model",
        {
            "path": str(folder / model),
            "format": form.name,
            "target": to_plain(target),
            "folder": str(folder),
            "golden": _GOLDEN,
        },
        group=runtime.group,
        deadline_s=_DEADLINE_S,
        name=f"calling {model}",
    )
    adopted = Adopted.from_json(child.call(task)["adopted"])
    chosen = adopted.signatures[adopted.chosen]
    manifest = Manifest(
        name=name,
        layout=LAYOUT,
        format=form.name,
        model=model,
        target=target,
        inputs=chosen.inputs,
        outputs=chosen.outputs,
        preprocess={},
        classes=_class_names(chosen, classes),
        recipe=Recipe(),
        source={"name": model, "format": form.name, "digest": ""},
        result=None,
        files={f: file_digest(folder / f) for f in files_of(folder) if f != MANIFEST},
        golden_inputs=chosen.golden_inputs,
        golden_outputs=chosen.golden_outputs,
        tolerance=chosen.tolerance,
        requirements=requirements(runtime),
        version=__version__,
        contract=chosen.contract,
        batch_dependent=chosen.batch_dependent,
        input_names=chosen.input_names,
        output_names=chosen.output_names,
        adopted=adopted,
    )
    artifact = Artifact(folder, manifest)
    artifact.save()
    return artifact


def _class_names(chosen: AdoptedSignature, classes: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Names of the classes that the scored output has: as with Triton, one without a name has an empty one."""
    scored = next(one for one in chosen.contract.outputs if one.role == "scored")
    names = list(classes.get(scored.name, ()))
    count = scored.shape[-1] if scored.shape else None
    if not names or count is None:
        return tuple(names)
    return tuple([*names, *[""] * (count - len(names))][:count])


def _put_tree(source: Path, target: Path) -> None:
    for root, _, names in os.walk(source, followlinks=True):
        below = target / os.path.relpath(root, source)
        below.mkdir(parents=True, exist_ok=True)
        for name in names:
            _put(Path(root, name), below / name)


def _put(source: Path, target: Path) -> None:
    """A link to a file: a hard one stays when the file is replaced. Small files may be copies, large ones are not."""
    real = source.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        os.link(real, target)
        return
    try:
        if real.stat().st_size <= _MOST_COPIED_BYTES:
            shutil.copyfile(real, target)
        else:
            target.symlink_to(real)
    except OSError as error:
        raise ServeError(f"Cannot read {source}: {error.strerror}.", remedy="check its permissions.") from error
