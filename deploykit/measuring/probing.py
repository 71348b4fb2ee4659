"""What kernels a runtime has on this machine for a convolution in int8, asked once with tiny models and remembered.

What a runtime does with a quantized file depends on the CPU and on the runtime's version: a rule that holds on one
machine is wrong on the next. The answers are kept in deploykit's cache folder with the facts of the host.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from deploykit.core.candidate import Target
from deploykit.core.digest import json_digest
from deploykit.core.errors import DeploykitError
from deploykit.core.files import cache_folder
from deploykit.core.problem import Form, Kernel
from deploykit.core.serial import dump, from_plain, parse
from deploykit.measuring.environment import hardware
from deploykit.runtimes._contract import RUNTIMES
from deploykit.runtimes._profile import NodeTime
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Report, Task

_VERSION = 1
_RUNS = 24
_DEADLINE_S = 60.0


@cache
def kernels(runtime: str) -> dict[Form, Kernel]:
    """How a runtime computes a convolution on this machine's CPU, by the form of the file; those it cannot run lack.

    Empty where the runtime tells nothing, or could not be asked.
    """
    facts = [_VERSION, runtime, hardware(), RUNTIMES.get(runtime).versions()]
    file = cache_folder() / f"kernels-{json_digest(facts)[:24]}.json"
    with contextlib.suppress(OSError, ValueError, DeploykitError):
        return from_plain(dict[Form, Kernel], parse(file.read_bytes()))
    adapter = RUNTIMES.get(runtime)
    if not adapter.profiles or adapter.missing():
        return {}
    task = Task(
        f"{__name__}:probe", {"runtime": runtime}, adapter.group, _DEADLINE_S, fresh=adapter.fresh_process,
        name=f"asking {adapter.label} for its kernels",
    )  # fmt: skip
    try:
        found = from_plain(dict[Form, Kernel], shared().run(task)["kernels"])
    except DeploykitError:
        return {}  # nothing is claimed of what is not known
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f"{file.name}.{os.getpid()}.tmp")
        beside.write_bytes(dump(found))
        beside.replace(file)
    return found


def probe(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Profile the runtime's tiny models (``runtime``); gives ``kernels`` by form, plain."""
    del report
    import numpy as np

    runtime = RUNTIMES.get(arguments["runtime"])
    target = Target(runtime.name)
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
        before = 0.0
        for form, path in runtime.probes(Path(folder)).items():
            try:
                format_name = next(iter(runtime.accepts))
                session = runtime.open(path, target, format_name)
                shapes = [[d or 1 for d in spec.shape or ()] for spec in session.inputs]
                session.close()
                inputs = [np.random.default_rng(0).normal(0, 0.5, shape).astype(np.float32) for shape in shapes]
                nodes = runtime.profile(path, target, format_name, [inputs], _RUNS)
            except DeploykitError:
                continue  # it does not read this form
            conv = max((n for n in nodes if n.kind == "conv"), key=lambda n: n.microseconds, default=None)
            spent = sum(n.microseconds for n in nodes)
            before = before or spent  # the first form is float32
            if conv is not None and before:
                found[form] = _kernel(conv, spent / before).to_json()
    return {"kernels": found}


def _kernel(node: NodeTime, ratio: float) -> Kernel:
    return Kernel(node.kernel or node.operator, node.precision, ratio)
