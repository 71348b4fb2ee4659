"""Build steps: what turns the original model into an artifact, and the keys under which a store keeps it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from deploykit.converters._contract import CONVERTERS, Converter
from deploykit.core.adapter import Adapter, Group
from deploykit.core.candidate import Target
from deploykit.core.digest import json_digest
from deploykit.core.model import Model
from deploykit.core.problem import Facts
from deploykit.core.serial import Plain
from deploykit.core.tools import Tool
from deploykit.data.dataset import Dataset
from deploykit.loading._contract import FORMATS
from deploykit.measuring.environment import core_count, cpu_features, hardware
from deploykit.measuring.probing import kernels
from deploykit.runtimes._compile import COMPILED
from deploykit.runtimes._contract import RUNTIMES, Runtime
from deploykit.transforms._contract import DATA, TRANSFORMS, Need, Transform, Variant

#: Raised when what build steps do changes: old artifacts are then built again.
_BUILD_VERSION = 6
#: What a weight takes in a file that no technique has made smaller.
_FLOAT_BYTES = 4.0


@dataclass(frozen=True)
class BuildStep(Plain):
    """One conversion, stage, transform or compilation of a given input: the unit of shared work.

    Attributes:
        key: Digest of everything that decides the output: input, adapter, parameters, seed, tools, data; of what is
            compiled or timed, also this machine.
        kind: What it is; what ``"prepare"`` makes is a folder that only other steps read, and what ``"compile"`` makes
            is a file that only one runtime opens, on this machine.
        adapter: Name of the converter, technique or runtime.
        variant: Name of the technique's variant, "" for the others.
        source: Key of the step that makes the input, "" for the original model.
        source_format: Format of the input.
        format: Format of the output.
        group: Import group of its child.
        words: What it does, for people.
        parameters: Checked parameters it uses.
        stage: Name of the variant's stage, "" when it is none.
        needs: What it reads besides its input.
        changed: Whether its input is no longer the original model but what a technique made of it.
        seeded: Whether the seed may change what it makes.
        examples: Examples it works through, 0 when it reads no data.
        bytes_a_weight: Bytes that what it makes takes for each weight of the model; 0 when it stores no weights.
    """

    key: str
    kind: Literal["convert", "prepare", "transform", "compile"]
    adapter: str
    variant: str
    source: str
    source_format: str
    format: str
    group: Group
    words: str
    parameters: dict[str, Any] = field(default_factory=dict)
    stage: str = ""
    needs: tuple[Need, ...] = ()
    changed: bool = False
    seeded: bool = False
    examples: int = 0
    bytes_a_weight: float = _FLOAT_BYTES

    @property
    def needs_data(self) -> bool:
        """Whether it reads the data."""
        return not DATA.isdisjoint(self.needs)

    @property
    def name(self) -> str:
        """What the history of durations calls it: steps of one name take about as long."""
        if self.kind == "compile":
            return f"compile for {self.adapter}"
        return self.stage or "/".join(filter(None, (self.adapter, self.variant)))


#: The package of the adapters that do each kind of step.
_PACKAGES = {
    "convert": CONVERTERS.package,
    "prepare": TRANSFORMS.package,
    "transform": TRANSFORMS.package,
    "compile": RUNTIMES.package,
}


def tools(steps: Iterable[BuildStep], runtimes: Iterable[str]) -> frozenset[Tool]:
    """The adapters that build steps and runtimes are the work of."""
    built = (Tool(_PACKAGES[step.kind], step.adapter, step.variant) for step in steps)
    return frozenset({*built, *(Tool(RUNTIMES.package, name) for name in runtimes)})


class Steps:
    """Makes the build steps of one model and its data, each once.

    Args:
        model: The original model.
        data: The data; None when there are none.
        seed: Seed of the transforms.

    Attributes:
        facts: What techniques and runtimes judge a combination by.
    """

    def __init__(self, model: Model, data: Dataset | None, seed: int) -> None:
        self._model = model
        self._data = data
        self._seed = seed
        self._train = 0 if data is None else len(data.splits["train"])
        calibration = 0 if data is None else min(data.calibration_size, self._train)
        contract = None if data is None else data.contract
        carries = contract is not None and bool(contract.state or contract.sequences)
        self.facts = Facts(model, calibration, platform.machine(), cpu_features(), core_count(), kernels, carries)
        self._known: dict[tuple[Any, ...], tuple[BuildStep, ...]] = {}
        self._versions: dict[int, dict[str, str]] = {}
        self._reading = "" if data is None or data.contract is None else data.contract.reading

    def convert(self, source: str, converter: Converter, *, changed: bool) -> tuple[BuildStep, ...]:
        """A conversion.

        Args:
            source: Key of the step before, "" for the original model.
            converter: What does it.
            changed: Whether a technique has changed the model before.
        """
        return self._once((source, converter.name), lambda: [self._convert(source, converter, changed=changed)])

    def transform(
        self, source: str, current: str, technique: Transform, variant: Variant, values: dict[str, Any]
    ) -> tuple[BuildStep, ...]:
        """A technique, after the stages it shares with others.

        Args:
            source: Key of the step before, "" for the original model.
            current: Format of what that has left.
            technique: What is done.
            variant: The way it is done.
            values: The parameters that the variant uses.
        """
        identity = (source, id(variant), current, *values.items())
        return self._once(identity, lambda: self._transform(source, current, technique, variant, values))

    def compile(self, source: str, current: str, runtime: Runtime, target: Target) -> tuple[BuildStep, ...]:
        """What a runtime compiles for a device of this machine.

        Args:
            source: Key of the step before, "" for the original model.
            current: Format of what that has left.
            runtime: What compiles and runs it.
            target: Where it runs. The number of threads is set when the file is opened.
        """
        identity = (source, id(runtime), target.device, target.batch_size)
        return self._once(identity, lambda: [self._compile(source, current, runtime, target)])

    def _once(self, identity: tuple[Any, ...], make: Callable[[], Iterable[BuildStep]]) -> tuple[BuildStep, ...]:
        if identity not in self._known:
            self._known[identity] = tuple(make())
        return self._known[identity]

    def _convert(self, source: str, converter: Converter, *, changed: bool) -> BuildStep:
        facts = {"kind": "convert", "adapter": converter.name, "variant": "", "parameters": {}}
        words = f"convert {FORMATS.get(converter.accepts).label} to {FORMATS.get(converter.produces).label}"
        return BuildStep(
            self._key(source, facts, converter), "convert", converter.name, "", source, converter.accepts,
            converter.produces, converter.group, words, changed=changed,
        )  # fmt: skip

    def _transform(
        self, source: str, current: str, technique: Transform, variant: Variant, values: dict[str, Any]
    ) -> Iterator[BuildStep]:
        """The variant's stages, then the variant itself. What a stage is called alone says what it does."""
        calibration = self.facts.calibration_examples
        for stage in variant.stages_for(values):
            used = {k: v for k, v in values.items() if k in stage.uses}
            facts: dict[str, Any] = {"kind": "prepare", "stage": stage.name, "parameters": used}
            facts |= {"machine": hardware()} if stage.timed else {}
            needs = stage.needs_for(used)
            key = self._key(source, facts, stage, needs, seeded=stage.seeded)
            words = " ".join([stage.label, *(str(v) for v in used.values())])
            yield BuildStep(
                key, "prepare", technique.name, variant.name, source, current, current, stage.group, words, used,
                stage.name, tuple(sorted(needs)), seeded=stage.seeded,
                examples=calibration if needs & DATA else 0,
                bytes_a_weight=_FLOAT_BYTES if stage.copies else 0.0,
            )  # fmt: skip
            source = key
        needs = variant.finishing_needs(values)
        late = {p.name: p.default for p in technique.parameters if p.late}
        keyed = {k: v for k, v in values.items() if k not in late or v != late[k]}
        facts = {"kind": "transform", "adapter": technique.name, "variant": variant.name, "parameters": keyed}
        yield BuildStep(
            self._key(source, facts, variant, needs, seeded=variant.seeded), "transform", technique.name,
            variant.name, source, current, variant.produces, variant.group, technique.describe(values), values, "",
            tuple(sorted(needs)), seeded=variant.seeded,
            examples=variant.examples(values, calibration, self._train) if needs & DATA else 0,
            bytes_a_weight=variant.bytes_a_weight(values, self.facts),
        )  # fmt: skip

    def _compile(self, source: str, current: str, runtime: Runtime, target: Target) -> BuildStep:
        place = {"device": target.device, "batch_size": target.batch_size}
        machine = {"hardware": hardware(), "device": runtime.device_facts(target.device)}
        facts = {"kind": "compile", "adapter": runtime.name, "parameters": place, "machine": machine}
        batch = f", batches of {target.batch_size}" if target.batch_size > 1 else ""
        return BuildStep(
            self._key(source, facts, runtime), "compile", runtime.name, "", source, current, COMPILED, runtime.group,
            f"compile for {runtime.label} on this machine ({target.device}{batch})", place,
        )  # fmt: skip

    def _key(
        self, source: str, facts: dict[str, Any], adapter: Adapter, needs: frozenset[Need] = frozenset(), *,
        seeded: bool = False,
    ) -> str:  # fmt: skip
        if id(adapter) not in self._versions:
            self._versions[id(adapter)] = adapter.versions()
        return json_digest(
            {
                "source": source or self._model.digest,
                "imports": self._model.imports,
                **facts,
                "tools": self._versions[id(adapter)],
                "data": self._data.digest if needs & DATA and self._data is not None else "",
                **({"teacher": self._model.digest} if "teacher" in needs else {}),
                "seed": self._seed if seeded else 0,
                "scored": self._reading if "train" in needs else "",
                "version": _BUILD_VERSION,
            }
        )
