"""Golden inputs and outputs: what the measured candidate answered, and whether another copy still answers it.

**Tolerance.** Two answers count as the same when they differ by at most ``tolerance`` times the range (largest minus
smallest value) of the golden output. The tolerance is 0.001, or one and a half quantization steps where an output is
quantized more coarsely. The same file on the same machine differs by nothing; other kernels on another processor
round differently. Whole numbers that are not quantized reals (class indices), truth values and text must be equal.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.arrays import load_arrays, packed
from deploykit.artifacts.artifact import Artifact
from deploykit.artifacts.encryption import Vault
from deploykit.artifacts.predictor import Predictor, open_session
from deploykit.artifacts.signature import client_inputs, client_outputs
from deploykit.core.candidate import Target
from deploykit.core.contract import Contract
from deploykit.core.errors import ExportError
from deploykit.core.security.keys import Key
from deploykit.core.security.memory import as_path
from deploykit.core.serial import from_plain, to_plain
from deploykit.core.settings.serving import ServingSettings
from deploykit.data.preprocess import Preprocess
from deploykit.loading._contract import FORMATS
from deploykit.measuring.dependence import depends_on_batch, depends_on_padding
from deploykit.runtimes._session import Session
from deploykit.sandbox.task import Report

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Examples kept as golden data.
EXAMPLES = 8
TOLERANCE = 1e-3
_QUANTIZATION_STEPS = 1.5
#: Golden examples that are kept as the file takes them, for layouts that warm a server up.
_PREPARED = 4


def record(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: run the candidate's own file on the golden inputs.

    Args:
        arguments: ``path format target preprocess contract`` of the candidate, ``batch_dependent`` as it was measured;
            ``golden_inputs`` and ``golden_outputs``, names in the artifact's ``folder``; ``key``, with which they are
            encrypted, "" if they are not. The answers go to ``golden_outputs``, single examples as the file takes them
            to ``prepared``, by number and the file's name.
        report: Not used.

    Returns:
        ``preprocess`` as it is served: texts are padded no further than they must be; ``inputs`` and ``outputs``: specs
        of what clients send and get; ``input_names`` and ``output_names`` in the
        file; ``file_inputs`` and ``file_outputs``: the file's own specs; ``batch_dependent``; ``joined``: whether
        examples of several requests may run as one batch; ``tolerance``; ``resident_bytes``: the most memory that this
        process had, its libraries included.
    """
    target, contract = Target.from_json(arguments["target"]), Contract.from_json(arguments["contract"])
    preprocess = from_plain(dict[str, Preprocess], arguments["preprocess"])
    session = open_session(Path(arguments["path"]), target, arguments["format"], contract)
    key, folder = arguments["key"], Path(arguments["folder"])
    vault = Vault(Key.of_text(key) if key else None, folder)
    raw = load_arrays(folder / arguments["golden_inputs"], vault.read(arguments["golden_inputs"]))
    # Where the original depends on padding, a candidate that seems not to has only rounded it away for some texts.
    fixed = arguments["batch_dependent"] or contract.padding_dependent
    preprocess = preprocess if fixed else _as_short_as_may_be(session, raw, preprocess)
    prepared = Predictor(session, preprocess).prepare(raw)
    dependent = arguments["batch_dependent"] or depends_on_batch(session, prepared)
    outputs = Predictor(session, preprocess, target.batch_size if dependent else 0).run(prepared)
    vault.write(packed(_as_the_file_takes_them(session, prepared)), arguments["prepared"])
    vault.write(packed(outputs), arguments["golden_outputs"])
    count = len(next(iter(raw.values())))
    steps = [_QUANTIZATION_STEPS * s.scale / value_range(outputs[o.name]) for s, o in session.given if s.scale]
    return {
        "preprocess": to_plain(preprocess),
        "inputs": to_plain(client_inputs(contract, raw, preprocess, session.feeding.inputs)),
        "outputs": to_plain(client_outputs(contract, session.given, outputs, count)),
        "input_names": {meaning.name: spec.name for spec, meaning in session.feeding.inputs if meaning is not None},
        "output_names": {meaning.name: spec.name for spec, meaning in session.given},
        "batch_dependent": dependent,
        "tolerance": max([TOLERANCE, *steps]),
        "file_inputs": to_plain(session.inputs),
        "file_outputs": to_plain(session.outputs),
        "joined": not dependent and _is_batched(session),
        "resident_bytes": _most_resident(),
    }


def _as_short_as_may_be(
    session: Session, raw: Mapping[str, NDArray[Any]], preprocess: dict[str, Preprocess]
) -> dict[str, Preprocess]:
    """Preprocessing that pads texts to the longest of a request, if answers do not depend on that."""
    texts = {name: step for name, step in preprocess.items() if step.tokenizer is not None}
    if not texts or depends_on_padding(session, raw, preprocess) is not False:
        return preprocess
    short = {name: replace(step, tokenizer=step.tokenizer and step.tokenizer.padded(0)) for name, step in texts.items()}
    return {**preprocess, **short}


def _most_resident() -> int:
    """The most memory that this process has had, in bytes: what a container that runs the model must hold."""
    import psutil

    memory = psutil.Process().memory_info()
    try:
        import resource
    except ImportError:  # Windows
        return int(getattr(memory, "peak_wset", memory.rss))
    unit = 1 if sys.platform == "darwin" else 1024
    return max(int(memory.rss), unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _is_batched(session: Session) -> bool:
    """Whether the first axis of everything the file takes and gives is the batch, and free."""
    fed = [meaning for _, meaning in session.feeding.inputs]
    first = [spec.shape[0] if spec.shape else 1 for spec in (*session.inputs, *session.outputs)]
    return (
        all(size is None for size in first)
        and all(one is not None and one.how != "constant" and one.batch_axis == 0 for one in fed)
        and all(one.batch_axis == 0 and not one.fixed for _, one in session.given)
        and len(session.given) == len(session.outputs)
    )


def _as_the_file_takes_them(session: Session, prepared: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Single examples with constants and fresh state, by ``NUMBER/NAME``; of sequences the first step."""
    found = {}
    for number in range(min(_PREPARED, len(next(iter(prepared.values()))))):
        example = {name: array[number : number + 1] for name, array in prepared.items()}
        arrays = session.arrange(session.feeding.first_step(example))
        for spec, array in zip(session.inputs, arrays, strict=True):
            found[f"{number}/{spec.name}"] = array
    return found


def replay(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: run an artifact's model on its golden inputs.

    Args:
        arguments: ``artifact``, its folder; ``key``, "" if it is not encrypted; and ``serving``, other settings than
            none to prove it with.
        report: Not used.

    Returns:
        ``difference``: the largest one, relative to the output's range; ``problems``: a sentence for each output that
        differs too much, and for a model that remembers.
    """
    settings = arguments.get("serving")
    artifact = opened_at(arguments)
    artifact = artifact.served_with(ServingSettings.of(settings) if settings else None)
    largest, problems = 0.0, []
    for one in artifact.signatures:
        difference, found = _replayed(one)
        largest = max(largest, difference)
        problems += found
    return {"difference": largest, "problems": problems}


def opened_at(arguments: dict[str, Any]) -> Artifact:
    """The artifact in the arguments of a task: ``artifact``, its folder, and ``key``, "" if it is not encrypted."""
    key = arguments.get("key")
    return Artifact.open(arguments["artifact"], Key.of_text(key) if key else None)


def _replayed(artifact: Artifact) -> tuple[float, list[str]]:
    """The largest difference from the golden outputs, and what is wrong."""
    manifest = artifact.manifest
    with artifact.opened() as files:
        inputs, golden = files.golden()
        missing = [name for name in manifest.contract.asked if name not in inputs]
        if missing:
            raise ExportError(f"{manifest.golden_inputs} has no {', '.join(missing)}.", remedy="export again.")
        predictor = Predictor.open(files)
        difference, problems = compare(golden, predictor(inputs), manifest.tolerance)
        if not problems and (said := remembers(predictor, inputs, manifest.tolerance)):
            problems.append(said)
    return difference, problems


def remembers(predictor: Predictor, inputs: Mapping[str, NDArray[Any]], tolerance: float) -> str:
    """Why the same question gets another answer later, in words; "" when it gets the same."""
    asked, other = ({name: array[place] for name, array in inputs.items()} for place in (slice(0, 1), slice(-1, None)))
    first = predictor(asked)
    predictor(other)
    difference, problems = compare(first, predictor(asked), tolerance)
    if not problems:
        return ""
    return (
        "The model does not always answer the same request the same way: after a different one its answer differs by "
        f"{difference:.2g} of its range. It keeps state that nothing resets, or draws random numbers, so a server "
        "would carry one client's state over to the next."
    )


def read_structure(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: parse a model file with its format's reader, which refuses what is broken or would run code.

    Returns:
        ``extra_files`` the model refers to, and what in it is ``stateful``.
    """
    return _structure(Path(arguments["path"]), arguments["format"], trusted=arguments["trusted"])


def check_structure(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: `read_structure` of an artifact's model.

    Where no reader can be given a file that is in memory alone (macOS, Windows), the structure of an encrypted one
    counts as that which was checked when it was exported: only who has the key can have changed it.

    Args:
        arguments: ``artifact``, its folder; ``key``, "" if it is not encrypted; and ``trusted``.
        report: Not used.
    """
    artifact = opened_at(arguments)
    with artifact.opened() as files, as_path(files.model) as path:
        return {} if path is None else _structure(path, artifact.manifest.format, trusted=arguments["trusted"])


def _structure(path: Path, format_name: str, *, trusted: bool) -> dict[str, Any]:
    reader = FORMATS.get(format_name)
    found = reader.parts(path, trusted=trusted)
    return {"extra_files": list(found.extra_files), "stateful": list(found.stateful)}


def compare(
    golden: Mapping[str, NDArray[Any]], found: Mapping[str, NDArray[Any]], tolerance: float
) -> tuple[float, list[str]]:
    """The largest difference relative to the output's range, and a sentence for each output beyond the limit."""
    largest, problems = 0.0, []
    for name, wanted in golden.items():
        if name not in found:
            problems.append(f"Output {name!r} is missing; there are {', '.join(found)}.")
            continue
        got = found[name]
        if got.shape != wanted.shape:
            problems.append(f"Output {name!r} has shape {got.shape}; the measured model gave {wanted.shape}.")
            continue
        difference = _difference(wanted, got)
        largest = max(largest, difference)
        limit = tolerance if wanted.dtype.kind == "f" else 0.0
        if difference > limit:
            problems.append(
                f"Outputs differ from the measured model's by {difference:.2g} of the range of {name!r} "
                f"(limit {limit:g})."
            )
    return largest, problems


def _difference(wanted: NDArray[Any], got: NDArray[Any]) -> float:
    import numpy as np

    if wanted.dtype.kind not in "fiu" or got.dtype.kind not in "fiu":
        same = [_plain(w) == _plain(g) for w, g in zip(wanted.ravel(), got.ravel(), strict=True)]
        return 0.0 if all(same) else 1.0
    a, b = wanted.astype(np.float64), got.astype(np.float64)
    alike = (a == b) | (np.isnan(a) & np.isnan(b))
    if alike.all():
        return 0.0
    gap = np.abs(a[~alike] - b[~alike])
    if not np.isfinite(gap).all():
        return float("inf")
    return float(gap.max()) / value_range(wanted)


def value_range(array: NDArray[Any]) -> float:
    """Largest minus smallest finite value; the largest magnitude, or 1, when that is nothing."""
    import numpy as np

    finite = array[np.isfinite(array)].astype(np.float64) if array.dtype.kind in "fiu" else np.zeros(0)
    if not finite.size:
        return 1.0
    return float(finite.max() - finite.min()) or float(np.abs(finite).max()) or 1.0


def _plain(value: Any) -> Any:
    """Text as its bytes: which of the two a runtime gives differs."""
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
