"""What a model's answer to an example rests on, computed in a child process."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from deploykit.core.contract import Contract
from deploykit.core.serial import Plain
from deploykit.measuring.attribution.layout import Layout
from deploykit.measuring.attribution.work import save
from deploykit.measuring.exportable import Exportable
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sandbox.supervisor import OnReport, shared
from deploykit.sandbox.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Runnable:
    """A model that a task runs.

    Attributes:
        words: What it is called in sentences.
        runtime: Name of its runtime.
        contract: What its inputs and outputs mean.
        function: The task; see `deploykit.measuring.attribution.work.attribute`.
        arguments: What the task needs beside what `attribute` gives it.
        imports: Modules of the user that define custom layers.
    """

    words: str
    runtime: str
    contract: Contract
    function: str
    arguments: dict[str, Any]
    imports: tuple[str, ...] = ()

    @classmethod
    def of_file(cls, words: str, item: Exportable) -> Self:
        """A candidate's file."""
        contract = item.data.checked
        arguments = {
            "path": str(item.path), "format": item.format, "target": item.target.to_json(),
            "contract": contract.to_json(),
        }  # fmt: skip
        function = "deploykit.measuring.attribution.work:attribute"
        return cls(words, item.target.runtime, contract, function, arguments, item.model.imports)


@dataclass(frozen=True)
class Hiding(Plain):
    """How parts of an example are hidden; see ``deploykit.explain_example``."""

    patch: int | None = None
    tilings: int = 12
    coalitions: int = 2048
    fill: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Attributed:
    """What the task has found; see `deploykit.measuring.attribution.work.attribute`.

    Attributes:
        values: Input → what each part of it adds to the answer.
        twins: The same with other masks or coalitions, of the inputs where chance has a part.
    """

    values: dict[str, NDArray[Any]]
    twins: tuple[dict[str, NDArray[Any]], ...]
    answer: tuple[int, ...]
    score: float
    base: float | None
    noise: float | None
    exact: bool
    runs: int


def attribute(
    model: Runnable,
    feeds: Mapping[str, NDArray[Any]],
    background: Mapping[str, NDArray[Any]],
    layouts: Sequence[Layout],
    methods: Mapping[str, str],
    hiding: Hiding,
    answer: Sequence[int] | None,
    *,
    twins: int,
    on_report: OnReport | None = None,
) -> Attributed:
    """Run a model on one example with parts of it hidden.

    Args:
        model: The model.
        feeds: The example as the model takes it, batch first.
        background: Others, by input name; {} for none.
        layouts: How each input is split up.
        methods: Input → ``"occlusion"`` or ``"kernel_shap"``.
        hiding: How parts are hidden.
        answer: Index of the number to explain; None: the likeliest class.
        twins: How often it is repeated with another seed, to know the part of chance.
        on_report: Called with (done, total, words).
    """
    import numpy as np

    runtime = RUNTIMES.get(model.runtime)
    runtime.check_installed()
    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
        inputs, others, out = (Path(folder, f"{name}.npz") for name in ("inputs", "background", "out"))
        save(inputs, feeds)
        save(others, background)
        arguments = {
            **hiding.to_json(),
            **model.arguments,
            "inputs": str(inputs), "background": str(others), "out": str(out),
            "layouts": [one.to_json() for one in layouts], "method": dict(methods),
            "answer": None if answer is None else list(answer), "twins": twins,
        }  # fmt: skip
        found = shared().run(
            Task(
                model.function, arguments, runtime.group, imports=model.imports, name="explaining an answer",
                fresh=runtime.fresh_process,
            ),
            on_report,
        )  # fmt: skip
        with np.load(out, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    names = [one.input for one in layouts]
    each = [{n: arrays[f"twin {i}/{n}"] for n in names if f"twin {i}/{n}" in arrays} for i in range(1, twins + 1)]
    again = [one for one in each if one]
    return Attributed(
        {name: arrays[name] for name in names},
        tuple(again),
        tuple(found["answer"]), found["score"], found["base"], found["noise"], found["exact"], found["runs"],
    )  # fmt: skip
