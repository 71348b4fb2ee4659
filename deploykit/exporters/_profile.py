"""The reference profile of an artifact: what its requests look like as long as all is well.

It is made of the evaluation split, on which the model was measured and not trained. On examples that it was trained
on (calibration is drawn from these) a model is surer than on any others, so that a profile of them would take every
honest request for drift.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.arrays import load_arrays, packed
from deploykit.artifacts.artifact import Manifest
from deploykit.artifacts.encryption import Vault
from deploykit.artifacts.predictor import Predictor, open_session
from deploykit.core.candidate import Target
from deploykit.core.contract import Contract, OutputMeaning
from deploykit.core.errors import CandidateError, DeploykitError
from deploykit.core.security.keys import Key
from deploykit.core.serial import from_plain, to_plain
from deploykit.data.preprocess import Preprocess
from deploykit.measuring.exportable import Exportable
from deploykit.monitoring.fitting import FEWEST, fit
from deploykit.runtimes._contract import RUNTIMES
from deploykit.runtimes._session import Session
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Report, Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

_log = logging.getLogger("deploykit.monitoring")
PROFILE = "golden/profile.dkp"
_REFERENCE = "golden/reference.npz"
_LABELS = "labels"
#: Most examples, and bytes of them, that a profile is made of; most seconds that the model is run on them.
_MOST_EXAMPLES, _MOST_BYTES, _SECONDS = 4096, 256 << 20, 4.0
_BATCH = 64
#: Largest embedding that is watched: it is copied for every request.
_MOST_WIDTH = 4096
#: Single examples whose answers must be the same, to the last bit, with the tap and without.
_ALONE = 8


def write_profile(chosen: Exportable, manifest: Manifest, vault: Vault, folder: Path) -> str:
    """Make the profile of an artifact in a child process.

    Args:
        chosen: The candidate.
        manifest: What is known of the artifact; its model and golden data are written.
        vault: Writes the profile, encrypted if there is a key.
        folder: The artifact's folder.

    Returns:
        Relative path of the profile; "" where there is none, because examples are too few, synthesized, or of a form
        that cannot be watched.
    """
    split = chosen.data.splits["evaluation"]
    size = sum(array.nbytes // max(len(array), 1) for array in split.inputs.values())
    count = min(len(split), _MOST_EXAMPLES, _MOST_BYTES // max(size, 1))
    if split.prepared or count < FEWEST or chosen.data.checked.sequences:
        return ""
    taken, runtime = split.take(slice(0, count)), RUNTIMES.get(chosen.target.runtime)
    arrays = {f"input/{name}": array for name, array in taken.inputs.items()}
    if taken.labels is not None:
        arrays[_LABELS] = taken.labels
    Vault(vault.key, folder).write(packed(arrays), _REFERENCE)  # in the artifact's folder until the child has read it
    arguments = {
        "path": str(chosen.path),
        "format": chosen.format,
        "target": to_plain(chosen.target),
        "preprocess": to_plain(chosen.data.preprocess),
        "contract": to_plain(chosen.data.checked),
        "batch_dependent": manifest.batch_dependent,
        "folder": str(folder),
        "key": "" if vault.key is None else vault.key.text,
        "digest": manifest.model_digest,
    }
    made = {"profile": "", "why": ""}
    try:
        made = shared().run(
            Task(
                "deploykit.exporters._profile:make_profile", arguments, group=runtime.group,
                name="watching the measured model on the evaluation split", fresh=runtime.fresh_process,
            )
        )  # fmt: skip
    except CandidateError as error:  # what was measured can be served all the same
        made["why"] = str(error)
    finally:
        (folder / _REFERENCE).unlink(missing_ok=True)
    if not made["profile"]:
        _log.warning(
            "%s is exported without a profile, so its requests will not be watched: %s", chosen.name, made["why"]
        )
        return ""
    vault.write(bytes.fromhex(made["profile"]), PROFILE)
    return PROFILE


def make_profile(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: run the candidate's own file on a reference, and make the profile.

    Returns:
        ``profile``, the file's content in hexadecimal, "" where there can be none, and ``why`` in words.
    """
    del report
    target, contract = Target.from_json(arguments["target"]), Contract.from_json(arguments["contract"])
    preprocess = from_plain(dict[str, Preprocess], arguments["preprocess"])
    key = arguments["key"]
    vault = Vault(Key.of_text(key) if key else None, Path(arguments["folder"]))
    held = load_arrays(Path(arguments["folder"]) / _REFERENCE, vault.read(_REFERENCE))
    inputs = {name.removeprefix("input/"): array for name, array in held.items() if name != _LABELS}
    path, size = Path(arguments["path"]), target.batch_size if arguments["batch_dependent"] else 0
    session = open_session(path, target, arguments["format"], contract)
    scored = next((o for o in contract.outputs if o.role == "scored"), None)
    boxes = scored is not None and scored.kind == "boxes"  # what the server sees are numbers that stand for them
    tap = "" if scored is None else _tap(session, path, target, scored)
    tapped = open_session(path, target, arguments["format"], contract, tap=tap) if tap else session
    predictor = Predictor(tapped, preprocess, size)
    if tap and not _same(Predictor(session, preprocess, size), predictor, inputs):
        tap, predictor = "", Predictor(session, preprocess, size)
    outputs, done, embedding = _run(predictor, inputs)
    tap = tap if embedding is not None else ""
    if scored is not None and (scored.name not in outputs or scored.kind == "text" or _by_token(contract, scored)):
        scored = None  # the inputs alone are watched
    try:
        profile = fit(
            {name: array[:done] for name, array in inputs.items()}, outputs, "" if scored is None else scored.name,
            "values" if scored is None or boxes else scored.kind, model=arguments["digest"],
            labels=held[_LABELS][:done] if _LABELS in held and not boxes else None, embedding=embedding,
            class_axis=-1 if scored is None else scored.class_axis,
            threshold=0.5 if scored is None else scored.threshold, tap=tap,
        )  # fmt: skip
    except DeploykitError as error:
        return {"profile": "", "why": str(error)}
    return {"profile": profile.to_bytes().hex(), "why": ""}


def _by_token(contract: Contract, scored: OutputMeaning) -> bool:
    """Whether an answer has numbers for each token of a text, as many as a request happens to have."""
    texts = any(meaning.how == "tokens" for meaning in contract.inputs)
    rest = [size for axis, size in enumerate(scored.shape or ()) if axis != scored.batch_axis]
    return texts and scored.kind in ("values", "embedding") and None in rest


def _tap(session: Session, path: Path, target: Target, scored: OutputMeaning) -> str:
    """Name of the tensor that goes into the last layer before the scored output, "" where the runtime gives none."""
    decoder = None if session.contract is None else session.contract.decoder
    if scored.batch_axis or scored.fixed or (decoder is not None and decoder.write):
        return ""
    spec = next(spec for spec, meaning in session.given if meaning.name == scored.name)
    return RUNTIMES.get(target.runtime).tap(path, spec.name)


def _same(plain: Predictor, tapped: Predictor, inputs: Mapping[str, NDArray[Any]]) -> bool:
    """Whether answers are the same with the tap, to the last bit, and what it gives has a row for each example."""
    import numpy as np

    parts = [slice(i, i + 1) for i in range(_ALONE)] + [slice(0, _BATCH), slice(0, FEWEST)]
    for part in parts:
        raw = {name: array[part] for name, array in inputs.items()}
        wanted, found = plain(raw), tapped(raw)
        given = tapped.embedding
        count = len(next(iter(raw.values())))
        if given is None or given.dtype.kind not in "fiu" or given.ndim < 2 or len(given) != count:
            return False
        if given.size // count > _MOST_WIDTH or given.size == count:
            return False
        if any(np.asarray(wanted[name]).tobytes() != np.asarray(found[name]).tobytes() for name in wanted):
            return False
    return True


def _run(predictor: Predictor, inputs: Mapping[str, NDArray[Any]]) -> tuple[dict[str, NDArray[Any]], int, Any]:
    """Outputs, number and embedding of the first examples: of all that run in a few seconds, but at least of some."""
    import numpy as np

    total, end = min(len(array) for array in inputs.values()), time.monotonic() + _SECONDS
    parts, embeddings, done = [], [], 0
    for start in range(0, total, _BATCH):
        if start >= 4 * FEWEST and time.monotonic() > end:
            break
        done = min(total, start + _BATCH)
        parts.append(predictor({name: array[start : start + _BATCH] for name, array in inputs.items()}))
        if (given := predictor.embedding) is not None:
            embeddings.append(np.array(given))
    # Answers for each token are as long as the longest text of a batch: such are not watched.
    outputs = {
        name: np.concatenate([part[name] for part in parts])
        for name in parts[0]
        if len({part[name].shape[1:] for part in parts}) == 1
    }
    even = len({one.shape[1:] for one in embeddings}) == 1
    return outputs, done, np.concatenate(embeddings) if even else None
