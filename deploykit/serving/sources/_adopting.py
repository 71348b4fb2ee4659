"""Finds out, in a child process, how a model is called that deploykit did not export.

Nothing is known of it but its signature. So it is called, with recorded requests if there are some and with made-up
inputs if not, and what it answers says the rest: which outputs have a row for each example, and whether examples can
be run together at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.adopted import Adopted, AdoptedSignature
from deploykit.artifacts.arrays import save_arrays
from deploykit.artifacts.golden import TOLERANCE, compare
from deploykit.artifacts.predictor import Predictor
from deploykit.artifacts.signature import client_outputs
from deploykit.core.calling import Calling, Method
from deploykit.core.candidate import Target
from deploykit.core.contract import Contract, InputMeaning, Kind, OutputMeaning
from deploykit.core.errors import DeploykitError, UnsupportedModelError
from deploykit.core.model import TensorSpec
from deploykit.core.serial import to_plain
from deploykit.loading._contract import FORMATS, Described
from deploykit.measuring.dependence import depends_on_batch
from deploykit.runtimes._contract import RUNTIMES
from deploykit.runtimes._session import Session
from deploykit.sandbox.task import Report
from deploykit.serving.dataplane import DEFAULT_SIGNATURE
from deploykit.serving.sources.made_up import candidates
from deploykit.serving.sources.recorded import REQUESTS, Recorded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

#: Examples that are made up, and most that are taken of recorded requests.
_MADE_UP, _MOST = 4, 8
#: Characters of what a runtime says that an error quotes.
_QUOTED = 300
_METHODS: dict[str, Method] = {"tensorflow/serving/classify": "classify", "tensorflow/serving/regress": "regress"}


@dataclass(frozen=True)
class _Answered:
    """A session that answers.

    Attributes:
        session: It.
        inputs: What it was asked, batch first.
        fixed: Outputs that have no row for each example: they are the same whatever is asked.
        alone: Whether examples must run one by one.
    """

    session: Session
    inputs: Arrays
    fixed: frozenset[str]
    alone: bool


def adopt_model(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: call every function of a model; golden data go to files in a folder.

    Args:
        arguments: ``path format target`` of the model; ``folder`` and ``golden``, a folder in it.
        report: Not used.

    Returns:
        ``adopted``: see `deploykit.artifacts.adopted.Adopted`.

    Raises:
        UnsupportedModelError: It cannot be served; says why.
    """
    del report
    path, target = Path(arguments["path"]), Target.from_json(arguments["target"])
    described: dict[str, Described | None] = {**FORMATS.get(arguments["format"]).signatures(path)}
    requests = path / REQUESTS
    recorded = Recorded(requests) if requests.is_file() else None
    look = _Look(path, arguments["format"], target, recorded, Path(arguments["folder"]), arguments["golden"])
    found: dict[str, AdoptedSignature] = {}
    left_out: dict[str, str] = {}
    for name, one in (described or {"": None}).items():
        try:
            found[name or DEFAULT_SIGNATURE] = look.at(name, one)
        except UnsupportedModelError as error:
            left_out[name] = error.message
    if DEFAULT_SIGNATURE in left_out or not found:
        name = DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in left_out else next(iter(left_out))
        which = f" its signature {name!r}:" if name else ""
        raise UnsupportedModelError(
            f"{path.name} cannot be served:{which} {left_out[name]}",
            remedy="export it again so that each example is answered by itself, the first dimension being the batch; "
            f"where it needs inputs of a certain kind, record requests in {REQUESTS}.",
        )
    chosen = DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in found else next(iter(found))
    return {"adopted": to_plain(Adopted(found, chosen, left_out, recorded is not None))}


class _Look:
    """Looks at the functions of one model."""

    def __init__(
        self, path: Path, format_name: str, target: Target, recorded: Recorded | None, folder: Path, golden: str
    ) -> None:
        self._path = path
        self._format = format_name
        self._target = target
        self._recorded = recorded
        self._folder = folder
        self._golden = golden
        self._count = 0

    def at(self, name: str, described: Described | None) -> AdoptedSignature:
        """How a function is called.

        Raises:
            DeploykitError: It cannot be served; says why.
        """
        if described is not None and described.stateful:
            raise UnsupportedModelError(
                f"It writes to {', '.join(described.stateful)}, which a server would carry over from one client to the "
                "next."
            )
        session = self._open(Calling(name))
        taken, given = session.inputs, session.outputs
        if not taken:
            raise UnsupportedModelError("It takes no inputs, so that nothing says how many answers are wanted.")
        calling = Calling(name, any_shape=self._leaves_shapes(name, taken))
        if calling.any_shape:
            session.as_it_is(any_shape=True)
        answered = self._ask(session, name, taken, described)
        return self._written(calling, taken, given, answered, described)

    def _open(self, calling: Calling) -> Session:
        return RUNTIMES.get(self._target.runtime).open(self._path, self._target, self._format, None, calling)

    def _leaves_shapes(self, name: str, specs: Sequence[TensorSpec]) -> bool:
        """Whether shapes are the runtime's to judge: it takes any, or examples of one number without their axis."""
        import numpy as np

        if not RUNTIMES.get(self._target.runtime).checks_shapes:
            return True
        if any(not spec.shape or {*spec.shape[1:]} != {1} or spec.dtype == "string" for spec in specs):
            return False
        flat = {spec.name: np.ones(_MADE_UP, spec.dtype) for spec in specs}
        try:
            found = self._open(Calling(name, any_shape=True)).predict(flat)
        except Exception:  # runtimes raise classes of their own
            return False
        return all(array.shape == (_MADE_UP,) for array in found.values())

    def _ask(self, session: Session, name: str, specs: Sequence[TensorSpec], described: Described | None) -> _Answered:
        """Call it until it answers.

        Raises:
            DeploykitError: It does not.
        """
        first: Exception | None = None
        for inputs in self._inputs(name, specs, described):
            try:
                return _answered(session, inputs)
            except Exception as error:  # runtimes raise classes of their own for sizes that do not go together
                if first is None or isinstance(error, UnsupportedModelError):
                    first = error
        if isinstance(first, DeploykitError):
            raise first
        said = " ".join(str(first).split())[:_QUOTED].rstrip(".")
        raise UnsupportedModelError(f"It does not answer: {said}.") from first

    def _inputs(self, name: str, specs: Sequence[TensorSpec], described: Described | None) -> Iterator[Arrays]:
        loose = [TensorSpec(spec.name, None, spec.dtype) for spec in specs]
        recorded = self._recorded.inputs(name or DEFAULT_SIGNATURE, loose, _MOST) if self._recorded else {}
        if recorded:
            yield recorded
        else:
            yield from candidates(specs, _MADE_UP, described.features if described else ())

    def _written(
        self,
        calling: Calling,
        taken: Sequence[TensorSpec],
        given: Sequence[TensorSpec],
        answered: _Answered,
        described: Described | None,
    ) -> AdoptedSignature:
        session, inputs = answered.session, answered.inputs
        contract = _contract(session, answered)
        session.follow(contract)
        dependent = answered.alone or depends_on_batch(session, inputs)
        outputs = Predictor(session, {}, 1 if dependent else 0).run(inputs)
        self._count += 1
        files = [f"{self._golden}/{self._count}-{what}.npz" for what in ("inputs", "outputs")]
        for file, arrays in zip(files, (inputs, outputs), strict=True):
            save_arrays(self._folder / file, arrays)
        specs = client_outputs(contract, session.given, outputs, len(next(iter(inputs.values()))))
        if calling.any_shape:  # what is declared is all that is known
            shapes = {s.name: _with_rows(s) if s.name in answered.fixed else s.shape for s in given}
            specs = tuple(replace(spec, shape=shapes[spec.name]) for spec in specs)
        return AdoptedSignature(
            calling=calling,
            method=_METHODS.get(described.method, "predict") if described else "predict",
            inputs=tuple(
                TensorSpec(s.name, s.shape if calling.any_shape or not s.shape else (None, *s.shape[1:]), s.dtype)
                for s in taken
            ),
            outputs=specs,
            contract=contract,
            golden_inputs=files[0],
            golden_outputs=files[1],
            tolerance=TOLERANCE,
            batch_dependent=dependent,
            input_names=described.inputs if described else {s.name: s.name for s in taken},
            output_names=described.outputs if described else {s.name: s.name for s in given},
        )


def _answered(session: Session, inputs: Arrays) -> _Answered:
    """What it does with examples alone and together.

    Raises:
        UnsupportedModelError: An output has no row for each example, and is not the same for all.
        Exception: It does not take examples of these sizes.
    """
    count = len(next(iter(inputs.values())))
    alone = session.predict(_part(inputs, 0))
    try:
        together = session.predict(inputs)
    except Exception:  # a graph made for one example
        if count == 1:
            raise
        _ = [session.predict(_part(inputs, place)) for place in range(count)]
        together = {}
    fixed = set()
    for name, one in alone.items():
        whole = together.get(name, one)
        rows = 1 if name not in together else count
        if one.ndim and len(one) == 1 and whole.ndim and len(whole) == rows:
            continue
        last = session.predict(_part(inputs, count - 1))[name]
        if compare({name: one}, {name: whole}, TOLERANCE)[1] or compare({name: one}, {name: last}, TOLERANCE)[1]:
            raise UnsupportedModelError(
                f"Its output {name!r} has shape {whole.shape} for {count} examples: the first dimension is not the "
                "batch."
            )
        fixed.add(name)
    return _Answered(session, inputs, frozenset(fixed), not together)


def _with_rows(spec: TensorSpec) -> tuple[int | None, ...] | None:
    """Shape of an output that has no row for each example, once each gets it."""
    return None if spec.shape is None else (None, *spec.shape)


def _part(inputs: Mapping[str, NDArray[Any]], place: int) -> Arrays:
    return {name: array[place : place + 1] for name, array in inputs.items()}


def _contract(session: Session, answered: _Answered) -> Contract:
    """The model as it is: nothing is prepared, and outputs mean numbers unless they are seen to be probabilities."""
    outputs = session.predict(_part(answered.inputs, 0))
    kinds = {spec.name: _kind(outputs[spec.name]) for spec in session.outputs}
    scored = next((name for name, kind in kinds.items() if kind == "probabilities"), session.outputs[0].name)
    return Contract(
        inputs=tuple(
            InputMeaning(spec.name, spec.name, "name", spec.dtype, given=spec.dtype, shape=spec.shape)
            for spec in session.inputs
        ),
        outputs=tuple(
            OutputMeaning(
                spec.name,
                kinds[spec.name],
                "scored" if spec.name == scored else "judged",
                spec.dtype,
                spec.shape,
                fixed=spec.name in answered.fixed,
            )
            for spec in session.outputs
        ),
        observed=True,
    )


def _kind(array: NDArray[Any]) -> Kind:
    """Rows of numbers from 0 on that sum to one are probabilities."""
    if array.dtype.kind != "f" or array.ndim != 2 or array.shape[1] < 2:
        return "values"
    sums = abs(array.sum(axis=1) - 1).max()
    return "probabilities" if array.min() >= 0 and sums < 1e-3 else "values"
