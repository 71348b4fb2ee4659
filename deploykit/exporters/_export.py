"""``dk.export``: write a layout, prove that it answers as the measured model does, and only then put it in place."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from deploykit._version import __version__
from deploykit.artifacts.arrays import load_arrays, packed
from deploykit.artifacts.artifact import MANIFEST, Artifact, Manifest, files_of
from deploykit.artifacts.encryption import Vault
from deploykit.artifacts.golden import EXAMPLES
from deploykit.artifacts.prove import prove, structure
from deploykit.core.digest import file_digest
from deploykit.core.errors import ExportError, SettingError
from deploykit.core.extras import needs
from deploykit.core.model import TensorSpec
from deploykit.core.parameter import Value
from deploykit.core.security.keys import Key, read_key
from deploykit.core.serial import from_plain, to_plain
from deploykit.data.preprocess import Preprocess
from deploykit.exporters._contract import EXPORTERS, Draft, Exporter
from deploykit.exporters._documents.bill import BILL, bill
from deploykit.exporters._documents.card import CARD, card
from deploykit.exporters._files import new_folder
from deploykit.exporters._fitting import unfitting
from deploykit.exporters._profile import write_profile
from deploykit.exporters._wheel import requirements
from deploykit.loading._contract import FORMATS
from deploykit.measuring.exportable import Exportable
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task

GOLDEN_INPUTS = "golden/inputs.npz"
GOLDEN_OUTPUTS = "golden/outputs.npz"
#: Examples as the model takes them, on the way from the child.
_PREPARED = "golden/prepared.npz"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@runtime_checkable
class SupportsExport(Protocol):
    """What ``report.best()`` and ``dk.build()`` return, as far as exporting is concerned."""

    def exportable(self) -> Exportable:
        """The candidate's file and what its export needs to know."""


def export(
    candidate: Exportable | SupportsExport,
    path: str | Path,
    *,
    layout: str = "folder",
    name: str | None = None,
    parameters: Mapping[str, Value] | None = None,
    license: str = "",  # noqa: A002  the usual name
    encrypt: str | None = None,
    overwrite: bool = False,
) -> Artifact:
    """Export a candidate to a folder that can be served, verified and moved to another machine.

    The folder appears complete or not at all. It is written next to ``path`` under a temporary name, its model is
    loaded in a child process and run on golden inputs (raw examples of the evaluation split), and the answers are
    compared with those of the measured file. Then the folder is renamed into place.

    Args:
        candidate: What ``report.best()`` or ``dk.build()`` returned.
        path: The folder to create. An existing artifact is replaced, unless other files were added to it; any other
            folder that is not empty is refused.
        layout: Name of an export layout.
        name: Name to serve the model under; None: the model's file name.
        parameters: Parameters of the layout that differ from their defaults, for example ``{"version": 2}`` of
            ``"tfserving"``; they are kept in the manifest.
        license: Of the model, an SPDX expression (``"Apache-2.0"``) or a name, for its card and its bill of materials;
            "" where it is not known.
        encrypt: The place of a key: ``env:NAME``, ``file:PATH``, ``keyring:NAME`` or ``cmd:PROGRAM ARGUMENTS``. The
            model and the golden data are then encrypted, also while they are exported and served; manifest, card and
            bill of materials can be read by anyone. None: nothing is encrypted. See "What runs where" for what this
            does not protect.
        overwrite: Replace any existing folder.

    Returns:
        The artifact. Whatever the layout, it has ``manifest.json``, golden inputs and outputs, ``MODEL_CARD.md`` and a
        bill of materials, ``bom.cdx.json``.

    Raises:
        ExportError: The layout does not support the candidate's format (the message names the best candidate it
            supports), the folder is taken or cannot be written, or the exported model does not reproduce the outputs.
        SettingError: The layout or a parameter is unknown, a value out of range, or the name unusable.

    Example:
        >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
        >>> artifact = dk.export(built, "exported/example", overwrite=True)
        >>> sorted(path.name for path in artifact.path.glob("m*"))
        ['manifest.json', 'model.onnx']
        >>> artifact.path.joinpath("MODEL_CARD.md").read_text().splitlines()[0]
        '# Model card: fashion_cnn'
    """
    chosen = exportable_of(candidate)
    exporter = EXPORTERS.get(layout)
    key = None if encrypt is None else _key(exporter, encrypt)
    _check_layout(exporter, chosen)
    exporter.check_installed()
    values = exporter.complete(parameters or {})
    served_name = _served_name(chosen.name, name)
    target = Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100  resolve() would follow links
    with new_folder(target, overwrite=overwrite) as folder:
        manifest = _write(chosen, exporter, values, served_name, license, Vault(key, folder), folder)
        Artifact(folder, manifest).save()
        _check(Artifact(folder, manifest, key), trusted=chosen.model.trusted)
    return Artifact(target, manifest, key)


def exportable_of(candidate: Any) -> Exportable:
    """What a candidate's export needs to know.

    Raises:
        SettingError: It is not a candidate.
    """
    if isinstance(candidate, Exportable):
        return candidate
    if isinstance(candidate, SupportsExport):
        return candidate.exportable()
    raise SettingError(
        f"Expected a candidate, got {type(candidate).__name__}.",
        remedy="pass what report.best() or dk.build() returned.",
    )


def _more(chosen: Exportable, vault: Vault) -> tuple[str, ...]:
    """Packages that this artifact needs beside those of its runtime."""
    texts = any(step.tokenizer is not None for step in chosen.data.preprocess.values())
    return (*(("cryptography",) if vault.key is not None else ()), *(("tokenizers",) if texts else ()))


def _key(exporter: Exporter, place: str) -> Key:
    """The key to encrypt with."""
    if not exporter.encrypts:
        able = ", ".join(one.name for one in EXPORTERS.all() if one.encrypts)
        raise ExportError(
            f"The layout {exporter.name!r} cannot be served encrypted: others than deploykit's server open its model.",
            remedy=f"choose {able}, or export it without encrypt= and encrypt its disk.",
        )
    needs("cryptography")
    return read_key(place)


def _check_layout(exporter: Exporter, chosen: Exportable) -> None:
    if reason := exporter.refuses(chosen.format):
        raise unfitting(chosen, exporter.name, reason, lambda name: not exporter.refuses(name))
    decoder = chosen.data.checked.decoder
    if exporter.bare and decoder is not None and decoder.write:
        raise ExportError(
            f"The layout {exporter.name!r} runs the model alone, which gives scores of the next token; the text of "
            f"{decoder.write} tokens is written by deploykit's server.",
            remedy="choose layout='folder' or 'container', or sweep without generate=.",
        )


def _served_name(default: str, name: str | None) -> str:
    if name is None:
        return re.sub(r"[^A-Za-z0-9._-]+", "_", default).strip("._-") or "model"
    if not _NAME.fullmatch(name):
        raise SettingError(f"Name {name!r} cannot be part of a URL.", remedy="use letters, digits, '.', '_' and '-'.")
    return name


def _write(
    chosen: Exportable,
    exporter: Exporter,
    parameters: dict[str, Value],
    name: str,
    licensed: str,
    vault: Vault,
    folder: Path,
) -> Manifest:
    runtime = RUNTIMES.get(chosen.target.runtime)
    contract, measured = chosen.data.checked, chosen.result.measurement if chosen.result else None
    raw = chosen.data.splits["evaluation"].take(slice(0, EXAMPLES)).inputs
    (folder / "golden").mkdir()
    vault.write(packed(raw), GOLDEN_INPUTS)
    parts = structure(chosen.path, chosen.format, trusted=chosen.model.trusted)
    recorded = shared().run(
        Task(
            "deploykit.artifacts.golden:record",
            {
                "path": str(chosen.path),
                "format": chosen.format,
                "target": to_plain(chosen.target),
                "preprocess": to_plain(chosen.data.preprocess),
                "contract": to_plain(contract),
                "batch_dependent": bool(measured and measured.batch_dependent),
                "folder": str(folder),
                "key": "" if vault.key is None else vault.key.text,
                "golden_inputs": GOLDEN_INPUTS,
                "golden_outputs": GOLDEN_OUTPUTS,
                "prepared": _PREPARED,
            },
            group=runtime.group,
            name="running the measured model on the golden inputs",
            fresh=True,
        )
    )
    prepared = load_arrays(folder / _PREPARED, vault.read(_PREPARED))
    (folder / _PREPARED).unlink()
    draft = Draft(
        name=name,
        vault=vault,
        inputs=from_plain(tuple[TensorSpec, ...], recorded["inputs"]),
        outputs=from_plain(tuple[TensorSpec, ...], recorded["outputs"]),
        examples=_by_number(prepared),
        golden=load_arrays(folder / GOLDEN_INPUTS, vault.read(GOLDEN_INPUTS)),
        requirements=requirements(runtime, _more(chosen, vault)),
        suffix=next(iter(FORMATS.get(chosen.format).suffixes), ""),
        extra_files=parts.extra_files,
        stateful=parts.stateful,
        batch_dependent=recorded["batch_dependent"],
        parameters=parameters,
        file_inputs=from_plain(tuple[TensorSpec, ...], recorded["file_inputs"]),
        file_outputs=from_plain(tuple[TensorSpec, ...], recorded["file_outputs"]),
        joined=recorded["joined"],
        resident_bytes=recorded["resident_bytes"],
    )
    model = exporter.write(chosen, draft, folder)
    manifest = Manifest(
        name=name,
        layout=exporter.name,
        format=chosen.format,
        model=model,
        target=chosen.target,
        inputs=draft.inputs,
        outputs=draft.outputs,
        preprocess=from_plain(dict[str, Preprocess], recorded["preprocess"]),
        classes=chosen.data.classes,
        recipe=chosen.recipe,
        source={"name": chosen.model.name, "format": chosen.model.format, "digest": chosen.model.digest},
        result=chosen.result,
        files=_digests(folder),
        golden_inputs=GOLDEN_INPUTS,
        golden_outputs=GOLDEN_OUTPUTS,
        tolerance=recorded["tolerance"],
        requirements=draft.requirements,
        version=__version__,
        contract=contract,
        check=chosen.check,
        batch_dependent=draft.batch_dependent,
        input_names=recorded["input_names"],
        output_names=recorded["output_names"],
        parameters=parameters,
        editable=_editable(exporter, files_of(folder)),
        license=licensed,
    )
    profile = write_profile(chosen, manifest, vault, folder)
    manifest = replace(manifest, profile=profile, encryption=vault.encryption(GOLDEN_OUTPUTS))
    text = card(chosen, draft, manifest)
    (folder / CARD).write_text(text, encoding="utf-8")
    exporter.describe(chosen, manifest, text, folder)
    manifest = replace(manifest, files=_digests(folder))
    (folder / BILL).write_text(bill(manifest), encoding="utf-8")
    return replace(manifest, files=_digests(folder))


def _digests(folder: Path) -> dict[str, str]:
    return {name: file_digest(folder / name) for name in files_of(folder) if name != MANIFEST}


def _editable(exporter: Exporter, files: list[str]) -> tuple[str, ...]:
    there = {f for f in files if any(fnmatchcase(f, pattern) for pattern in exporter.editable)}
    return tuple(sorted(there | {name for name in exporter.editable if "*" not in name}))


def _by_number(arrays: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Examples from arrays by ``NUMBER/NAME``."""
    found: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        number, _, inner = name.partition("/")
        found.setdefault(number, {})[inner] = array
    return tuple(found.values())


def _check(artifact: Artifact, *, trusted: bool) -> None:
    proof = prove(artifact, trusted=trusted)
    if proof.problems:
        raise ExportError(
            f"{' '.join(proof.problems)} Not exported.",
            remedy="measure the candidate again: its file now gives different outputs than when it was measured.",
        )
