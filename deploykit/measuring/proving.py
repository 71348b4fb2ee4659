"""Whether a conversion gives the same function: its answers beside those of the original model, on real examples."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.candidate import Target
from deploykit.core.contract import Contract
from deploykit.core.errors import CandidateError, DeploykitError, UnsupportedModelError
from deploykit.core.mapped import blocks
from deploykit.data.dataset import Dataset
from deploykit.loading._contract import FORMATS
from deploykit.measuring.examination.examining import REFERENCE, load
from deploykit.measuring.examination.running import run
from deploykit.runtimes._contract import runtimes_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Largest difference that is rounding, relative to an output's range; of a model that computes in half precision.
TOLERANCE, HALF_TOLERANCE = 1e-3, 3e-2
#: Share of class numbers and text that may differ: near ties.
_TIES = 0.01


def prove(
    path: Path,
    format_name: str,
    folder: Path,
    contract: Contract,
    *,
    half: bool,
    given: tuple[Path, str, tuple[str, ...], bool] | None = None,
) -> dict[str, Any]:
    """Compare a converted file with the original model, or with what a technique made of it.

    Args:
        path: The file.
        format_name: Its format.
        folder: Holds a sample of the data and the reference outputs, see `deploykit.measuring.examination.examining`.
        contract: What inputs and outputs mean.
        half: Whether the original model computes in half precision.
        given: Path, format, imports and trust of the file that was converted, to be run in its own framework; None
            when that is the original model, whose answers are in the folder.

    Returns:
        ``examples`` and ``difference``, the largest relative to an output's range; nothing when no runtime here runs
        the format.

    Raises:
        CandidateError: An output differs by more than rounding, is missing, or holds what another one should.
    """
    able = runtimes_for(format_name)
    if not able:
        return {}
    runtime = able[0]
    try:
        session = runtime.open(path, Target(runtime.name, threads=0), format_name, contract)
    except UnsupportedModelError as error:
        raise CandidateError(f"The converted model cannot be run: {error.message}", remedy=error.remedy) from error
    data = Dataset.open(folder)
    try:
        wanted = load(folder / REFERENCE) if given is None else _answers(given, data, contract)
        found = run(session, data.batch("evaluation"))
    except DeploykitError:
        raise
    except Exception as error:  # runtimes raise classes of their own
        text = " ".join(str(error).split())[:300]
        raise CandidateError(
            f"The converted model cannot be run by {runtime.label}: {type(error).__name__}: {text}",
            remedy="choose another runtime for this model.",
        ) from error
    finally:
        session.close()
    return {"examples": len(data.splits["evaluation"]), "difference": compare(wanted, found, half=half)}


def _answers(
    given: tuple[Path, str, tuple[str, ...], bool], data: Dataset, contract: Contract
) -> dict[str, NDArray[Any]]:
    path, format_name, imports, trusted = given
    session = FORMATS.get(format_name).open_given(path, contract, imports=imports, trusted=trusted)
    with closing(session):
        return run(session, data.batch("evaluation"))


def compare(wanted: Mapping[str, NDArray[Any]], found: Mapping[str, NDArray[Any]], *, half: bool) -> float:
    """The largest difference relative to an output's range.

    Raises:
        CandidateError: An output differs by more than rounding.
    """
    limit = HALF_TOLERANCE if half else TOLERANCE
    gaps = {name: gap(value, found.get(name), limit) for name, value in wanted.items()}
    wrong = {name: g for name, g in gaps.items() if g > limit}
    if not wrong:
        return max(gaps.values(), default=0.0)
    said = []
    for name, size in wrong.items():
        twin = next((o for o, v in found.items() if o != name and gap(wanted[name], v, limit) <= limit), "")
        if name not in found:
            said.append(f"output {name!r} is missing")
        elif found[name].shape != wanted[name].shape:
            said.append(f"output {name!r} has shape {found[name].shape[1:]} instead of {wanted[name].shape[1:]}")
        else:
            more = f"; it holds what {twin!r} should" if twin else ""
            amount = f"by up to {100 * size:.2g} % of its range" if size != float("inf") else "without bound"
            said.append(f"output {name!r} is off {amount}{more}")
    right = [name for name in wanted if name not in wrong]
    good = f"; {', '.join(map(repr, right))} {'is' if len(right) == 1 else 'are'} right" if right else ""
    raise CandidateError(
        f"The converted model does not compute the same function as the original: {'; '.join(said)}{good}.",
        remedy="use a runtime that needs no conversion for this model, or replace the layers that produce this output.",
    )


def gap(wanted: NDArray[Any], found: NDArray[Any] | None, limit: float) -> float:
    """The largest difference relative to the range; infinite where shapes, classes or NaN differ."""
    import numpy as np

    if found is None or found.shape != wanted.shape:
        return float("inf")
    if wanted.dtype.kind != "f" or found.dtype.kind not in "fiu":
        return 0.0 if wanted.size == 0 or (_text(wanted) != _text(found)).mean() <= _TIES else float("inf")
    worst, low, high = 0.0, np.inf, -np.inf
    for part, block in blocks(wanted) if wanted.ndim else [((), wanted)]:
        a, b = block.astype(np.float64), np.asarray(found[part]).astype(np.float64)
        finite = a[np.isfinite(a)]
        low, high = min(low, float(finite.min(initial=np.inf))), max(high, float(finite.max(initial=-np.inf)))
        alike = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid="ignore"):
            gaps = np.abs(a[~alike] - b[~alike])
        if not np.isfinite(gaps).all():
            return float("inf")
        worst = max(worst, float(gaps.max(initial=0.0)))
    if not worst:
        return 0.0
    level = high - low if high >= low else 0.0
    level = max(level, limit * max(abs(low), abs(high)) if high >= low else 0.0) or 1.0
    return worst / level


def _text(value: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    if value.dtype.kind not in "SO":
        return value
    return np.array([v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in value.flat]).reshape(
        value.shape
    )
