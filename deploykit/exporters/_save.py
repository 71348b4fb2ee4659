"""``best.save``: just the model file (or folder), or a SavedModel as a frozen graph."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from deploykit.artifacts.arrays import load_arrays, save_arrays
from deploykit.artifacts.golden import EXAMPLES, compare
from deploykit.artifacts.predictor import open_session
from deploykit.artifacts.prove import structure
from deploykit.core.candidate import Target
from deploykit.core.contract import Contract
from deploykit.core.digest import path_digest
from deploykit.core.errors import ExportError, UnsupportedModelError
from deploykit.core.serial import to_plain
from deploykit.data.preprocess import prepared
from deploykit.exporters._export import SupportsExport, exportable_of
from deploykit.exporters._files import copy_to
from deploykit.loading._contract import FORMATS
from deploykit.measuring.exportable import Exportable
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Report, Task

_FREEZE = "deploykit.exporters._save:freeze"
#: A frozen graph computes what the SavedModel does with the same kernels; only the order of sums may change.
_SAME = 1e-5


def save_file(candidate: Exportable | SupportsExport, path: str | Path) -> Path:
    """Write just the model file (or folder), for ``best.save("x.tflite")``.

    A SavedModel may also be saved as a frozen graph, ``best.save("x.pb")``: one file in which variables are constants.
    Inputs and outputs are nodes with the names of the signature. TensorFlow runs the graph on examples of the data
    before it is put in place, and it must answer as the SavedModel does.

    Args:
        candidate: What to save.
        path: Where. Its ending must be the usual one of the candidate's format; a file that is there is replaced.

    Returns:
        The absolute path.

    Raises:
        ExportError: The ending belongs to another format, the file cannot be written, or the graph cannot be frozen.
    """
    chosen = exportable_of(candidate)
    target = Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100  resolve() would follow links
    kept = FORMATS.get(chosen.format)
    if kept.frozen and target.suffix.lower() == kept.frozen:
        return _save_frozen(chosen, target)
    endings = kept.suffixes
    if target.suffix.lower() not in (endings or ("",)):
        wanted = target.with_suffix(endings[0] if endings else "").name
        kind = "" if endings else ", a folder, so its name has no suffix"
        also = f" ({target.with_suffix(kept.frozen).name!r} for a frozen graph)" if kept.frozen else ""
        raise ExportError(
            f"{target.name!r}: the candidate's format is {chosen.format}{kind}.",
            remedy=f"name it {wanted!r}{also}, or choose a candidate in the format you want.",
        )
    extra = structure(chosen.path, chosen.format, trusted=chosen.model.trusted).extra_files
    for source, copy in [(chosen.path.parent / m, target.parent / m) for m in extra] + [(chosen.path, target)]:
        copy_to(source, copy)
        if path_digest(copy) != path_digest(source):
            raise ExportError(f"{copy} is not an exact copy of {source}.", remedy="check the disk, then save again.")
    return target


def _save_frozen(chosen: Exportable, target: Path) -> Path:
    runtime = RUNTIMES.get(chosen.target.runtime)
    contract = chosen.data.checked
    if contract.sequences or any(i.is_carried for i in contract.inputs):
        raise ExportError(
            "The model carries state from step to step, which a frozen graph does not keep.",
            remedy="save the SavedModel: a name without a suffix.",
        )
    structure(chosen.path, chosen.format, trusted=chosen.model.trusted)  # operators that run code are refused
    raw = chosen.data.splits["evaluation"].take(slice(0, EXAMPLES)).inputs
    with tempfile.TemporaryDirectory(prefix="deploykit-") as scratch:
        graph, examples = Path(scratch) / "graph.pb", Path(scratch) / "examples.npz"
        save_arrays(examples, prepared(raw, chosen.data.preprocess))
        arguments = {
            "path": str(chosen.path), "format": chosen.format, "target": to_plain(chosen.target),
            "contract": to_plain(contract), "examples": str(examples), "graph": str(graph),
        }  # fmt: skip
        try:
            shared().run(Task(_FREEZE, arguments, group=runtime.group, name="freezing the graph", fresh=True))
        except UnsupportedModelError as error:
            raise ExportError(error.message, remedy=error.remedy) from error
        copy_to(graph, target)
    return target


def freeze(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: write a SavedModel's serving signature as a graph of constants, and run it on examples.

    Args:
        arguments: ``path format target contract`` of the candidate, ``examples`` as they are fed, ``graph``: the file.
        report: Not used.

    Returns:
        ``difference`` from the SavedModel's answers, relative to their range.

    Raises:
        UnsupportedModelError: It holds tables or other resources that cannot become constants, or answers differ.
    """
    import numpy as np
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    path, target = Path(arguments["path"]), Target.from_json(arguments["target"])
    session = open_session(path, target, arguments["format"], Contract.from_json(arguments["contract"]))
    loaded = tf.saved_model.load(str(path))  # variables live as long as this object
    function = loaded.signatures["serving_default"]
    frozen = convert_variables_to_constants_v2(function)
    made = frozen.graph.as_graph_def()
    if left := sorted({n.op for n in made.node if n.op.startswith(("VarHandleOp", "HashTable", "MutableHashTable"))}):
        raise UnsupportedModelError(
            f"The graph holds {', '.join(left)}, which cannot become constants.",
            remedy="save the SavedModel: a name without a suffix.",
        )
    # Outputs of the converted function come in the order of the structured ones, sorted by name.
    outputs = dict(zip(sorted(function.structured_outputs), (t.name for t in frozen.outputs), strict=True))
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(made, name="")
        taken = {node.name for node in made.node}
        names = {}
        for name, tensor in outputs.items():
            called = name if name not in taken else f"{name}_output"
            names[name] = tf.identity(graph.get_tensor_by_name(tensor), name=called).name
        Path(arguments["graph"]).write_bytes(graph.as_graph_def(add_shapes=True).SerializeToString(deterministic=True))
    examples = load_arrays(Path(arguments["examples"]))
    arrays = session.arrange({name: array[: session.batch_size or EXAMPLES] for name, array in examples.items()})
    places = {t.name.partition(":")[0]: t.name for t in frozen.inputs}
    fed = {s.name: array for s, array in zip(session.inputs, arrays, strict=True) if s.name in places}
    golden = {s.name: np.asarray(v) for s, v in zip(session.outputs, session.run(arrays), strict=True)}
    read = tf.compat.v1.GraphDef.FromString(Path(arguments["graph"]).read_bytes())
    with tf.Graph().as_default() as again, tf.compat.v1.Session(graph=again) as runner:
        tf.import_graph_def(read, name="")
        found = runner.run(names, {places[name]: array for name, array in fed.items()})
    difference, problems = compare(golden, found, _SAME)
    if problems:
        raise UnsupportedModelError(
            f"The frozen graph answers differently: {' '.join(problems)}", remedy="save the SavedModel instead."
        )
    return {"difference": difference}
