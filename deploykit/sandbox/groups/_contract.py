"""What an import group is.

The children of a group are forked from one process that has imported the group's modules, so that a task waits for a
framework only once. Frameworks that cannot live in one process, or that few tasks need, have groups of their own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from deploykit.core.adapter import Adapter
from deploykit.core.registry import Registry


@dataclass(frozen=True)
class Costs:
    """What tasks of a group typically cost on a machine that has done none: plans use it until they know better.

    Pairs called typical are seconds for a model of 200,000 parameters, and the examples that are worked through
    meanwhile. The other pairs are seconds once and for each layer, without the arithmetic. The defaults are those of
    a light runtime.

    Attributes:
        start_s: Importing the group's modules.
        step: Typical build step.
        evaluation: Typical evaluation.
        session: Typical session in one launch.
        profile: Typical profile of one artifact.
        open_s: Opening a model.
        call_s: One inference.
        build_s: A build step.
        calibrate: Inferences that a build step takes for one of its examples, and seconds besides.
        memory_bytes: Resident memory of a process at a typical task.
    """

    start_s: float = 1.0
    step: tuple[float, int] = (0.4, 200)
    evaluation: tuple[float, int] = (0.3, 5000)
    session: tuple[float, int] = (0.35, 0)
    profile: tuple[float, int] = (0.8, 0)
    open_s: tuple[float, float] = (0.02, 5e-4)
    call_s: tuple[float, float] = (1e-5, 1e-6)
    build_s: tuple[float, float] = (0.02, 0.004)
    calibrate: tuple[float, float] = (8.0, 1e-4)
    memory_bytes: int = 300_000_000


class ImportGroup(Adapter):
    """An import group; it has facts only.

    Attributes:
        modules: Imported before the first child is forked; packages that are not installed are passed over.
        later: Imported while there is nothing to do: only some tasks need them, and none should wait for them.
        environment: Variables that its processes have, whatever the user's are.
        defaults: Variables that its processes have unless the user has set them.
        costs: What its tasks typically cost.
    """

    modules: ClassVar[tuple[str, ...]]
    later: ClassVar[tuple[str, ...]] = ()
    environment: ClassVar[Mapping[str, str]] = {}
    defaults: ClassVar[Mapping[str, str]] = {}
    costs: ClassVar[Costs] = Costs()

    def variables(self) -> dict[str, str]:
        """The environment of its processes: this process's, with the group's variables."""
        return {**_ONE_THREAD, **self.defaults, **os.environ, **self.environment}


#: A sweep has one process for each core. NumPy's own threads would wait for each other on all of them, which makes
#: least squares many times slower on a busy machine.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
GROUPS: Registry[ImportGroup] = Registry("deploykit.sandbox.groups", "import group")


@cache  # a plan asks several times for each unit of work, and looking a name up takes longer than predicting
def costs_of(group: str) -> Costs:
    """What tasks of a group typically cost; the default costs for a group that is not installed any more."""
    return GROUPS.get(group).costs if group in GROUPS else Costs()
