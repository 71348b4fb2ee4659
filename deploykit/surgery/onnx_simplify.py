"""Writing an ONNX graph more plainly: the same function with fewer nodes."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import CandidateError, UnsupportedModelError
from deploykit.core.extras import require
from deploykit.loading._onnx.parts import STANDARD, inner_graphs
from deploykit.surgery.onnx_session import opened

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: How far outputs may be apart, as a share of the largest number in them where that is above 1.
TOLERANCE = 1e-5
#: Sizes to try for dimensions that a model leaves open, besides the first one of each input.
_SIZES = (4, 8, 16, 32, 64, 224)
_BATCHES = (1, 3)
_LEAVE_OUT = "leave simplify_graph out for this model."


def simplified(model: Any) -> tuple[Any, str]:
    """A model with constants folded, dead nodes removed, and shapes that are known written out.

    Inputs and outputs stay as the file declares them, open dimensions too; nodes of operators that are not ONNX's own
    stay. Both graphs are run on random inputs and compared.

    Args:
        model: A ``ModelProto`` whose nodes that nothing reads are gone.

    Returns:
        The new ``ModelProto``, and why it could not be compared; "" when it was.

    Raises:
        UnsupportedModelError: onnxslim cannot handle the graph, or would lose operators, which are named.
        CandidateError: The new graph computes something else.
    """
    slim = require("onnxslim", "").slim
    made = type(model)()
    made.CopyFrom(model)
    with _quiet(), refusing("The model cannot be simplified by onnxslim", _LEAVE_OUT):
        made = slim(made)
    restore(model, made)
    if lost := _own(model.graph) - _own(made.graph):
        raise UnsupportedModelError(
            f"Simplifying the model would lose operators: {', '.join(sorted(lost))}.",
            remedy=_LEAVE_OUT,
        )
    return made, compare(model, made)


@contextlib.contextmanager
def refusing(said: str, remedy: str) -> Iterator[None]:
    """Whatever a graph makes a tool stumble over becomes the refusal of a model, but for a lack of memory.

    Args:
        said: What the tool cannot do, in words; the reason follows.
        remedy: What to do about it.

    Raises:
        UnsupportedModelError: The tool has failed.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        traceback.print_exc()  # into the log of the task
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UnsupportedModelError(f"{said}: {reason}", remedy=remedy) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without messages about what it tries."""
    logger = logging.getLogger("onnxslim")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


def restore(model: Any, made: Any) -> None:
    """Declare what the original declares: inputs, outputs, functions, operator sets, metadata."""
    constants = {t.name for t in model.graph.initializer}
    there = {name for node in made.graph.node for name in node.output}
    for field, kept in (
        (made.graph.input, [v for v in model.graph.input if v.name not in constants]),
        (made.graph.output, list(model.graph.output)),
        (made.graph.value_info, [v for v in model.graph.value_info if v.name in there]),  # inferred ones take space
        (made.functions, list(model.functions)),
        (made.metadata_props, list(model.metadata_props)),
    ):
        del field[:]
        field.extend(kept)
    domains = {o.domain for o in made.opset_import}
    made.opset_import.extend(o for o in model.opset_import if o.domain not in domains)
    made.graph.name, made.graph.doc_string = model.graph.name, model.graph.doc_string
    made.producer_name, made.producer_version = model.producer_name, model.producer_version
    made.domain, made.model_version, made.doc_string = model.domain, model.model_version, model.doc_string


def _own(graph: Any) -> Counter[str]:
    """Nodes of operators that are not ONNX's own, in inner graphs too: how many there are of each."""
    found: Counter[str] = Counter()
    for node in graph.node:
        if node.domain not in STANDARD:
            found[f"{node.domain}.{node.op_type}"] += 1
        for inner in inner_graphs(node):
            found += _own(inner)
    return found


def compare(model: Any, made: Any, words: str = "simplified", remedy: str = _LEAVE_OUT) -> str:
    """Run both on random inputs; why that was not possible, or "".

    Args:
        model: The original ``ModelProto``.
        made: What was made of it.
        words: What it is, in a word.
        remedy: What to do if they differ.

    Raises:
        CandidateError: They differ.
        UnsupportedModelError: ONNX Runtime does not open the new one.
    """
    import numpy as np

    given = opened(model)
    try:
        found = opened(made)
    except MemoryError:
        raise
    except Exception as error:  # ONNX Runtime has many
        raise UnsupportedModelError(
            f"ONNX Runtime does not open the {words} graph: {' '.join(str(error).split())[:200]}",
            remedy=remedy,
        ) from error
    names = [output.name for output in given.get_outputs()]
    for batch in _BATCHES:
        ran = _ran(given, names, batch)
        if isinstance(ran, str):
            return ran
        feeds, wanted = ran
        again = given.run(names, feeds)
        if any(not _near(a, b) for a, b in zip(wanted, again, strict=True)):
            return "the model gives other answers each time"
        for name, one, two in zip(names, wanted, found.run(names, feeds), strict=True):
            if not _near(one, two):
                numbers = np.asarray(one).dtype.kind == "f" and np.shape(one) == np.shape(two)
                apart = f" by up to {np.nanmax(np.abs(one - two)):.2g}" if numbers else ""
                raise CandidateError(
                    f"The {words} graph does not compute what the model does: the output {name!r} differs{apart}.",
                    remedy=remedy,
                )
    return ""


def _ran(session: Any, names: list[str], batch: int) -> tuple[Mapping[str, NDArray[Any]], list[Any]] | str:
    """Random inputs that the model takes, and its answers; why there are none."""
    reason = ""
    for size in _SIZES:
        try:
            feeds = _random(session, batch, size)
            return feeds, session.run(names, feeds)
        except MemoryError:
            raise
        except Exception as error:  # shapes that do not fit each other, or inputs of no numbers
            reason = " ".join(str(error).split())[:200]
    return f"the model does not take random inputs: {reason}"


def _random(session: Any, batch: int, size: int) -> dict[str, NDArray[Any]]:
    import numpy as np

    rng = np.random.default_rng(0)
    types = {"float": np.float32, "double": np.float64, "float16": np.float16, "bool": np.bool_}
    found: dict[str, NDArray[Any]] = {}
    for value in session.get_inputs():
        shape = [d if isinstance(d, int) else size if k else batch for k, d in enumerate(value.shape)]
        kind = value.type.removeprefix("tensor(").removesuffix(")")
        if kind in {"float", "double", "float16"}:
            found[value.name] = rng.normal(0.0, 1.0, shape).astype(types[kind])
        else:  # small enough to be a place in any table
            found[value.name] = rng.integers(0, 2, shape).astype(types.get(kind, kind))
    return found


def _near(one: Any, two: Any) -> bool:
    import numpy as np

    if not isinstance(one, np.ndarray) or one.dtype.kind != "f":
        return bool(np.array_equal(one, two))
    if one.shape != two.shape or one.dtype != two.dtype:
        return False
    finite = one[np.isfinite(one)]
    scale = max(1.0, float(np.abs(finite).max(initial=0.0)))
    near = TOLERANCE if one.dtype != np.float16 else 1e-3
    return bool(np.allclose(one, two, rtol=0.0, atol=near * scale, equal_nan=True))
