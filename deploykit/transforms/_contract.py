"""What a technique is.

A technique (``prune_magnitude``, ``quantize_static``) may be done on several formats by different tools: each way is a
`Variant`. The planner searches the cheapest way through conversions and variants to a format the runtime accepts, so
a recipe says what is wanted, never how files are converted on the way.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from deploykit.converters._contract import Job
from deploykit.core.adapter import Adapter, Group
from deploykit.core.errors import DatasetError, DeploykitError, SettingError
from deploykit.core.model import Layer
from deploykit.core.parameter import Parameter, Value, complete, described, idle
from deploykit.core.problem import Effect, Facts, Problem
from deploykit.core.registry import Registry
from deploykit.data.dataset import Dataset
from deploykit.transforms._conditions import Condition, ModelFacts, SameSignature, check, shown

#: What work may read besides the model: ``calibration``: the calibration examples; ``train``: the training examples;
#: ``labels``: their labels; ``teacher``: the original model; ``file``: a file that a parameter names.
Need = Literal["calibration", "train", "labels", "teacher", "file"]
#: What is read of the data.
DATA: frozenset[Need] = frozenset({"calibration", "train", "labels"})
#: Needs in words.
_NEEDED: dict[Need, str] = {
    "calibration": "calibration data", "train": "training data", "labels": "labeled training data",
    "teacher": "the original model", "file": "a file",
}  # fmt: skip
#: Marks of points in charts, by their names in Vega. Charts use three of them already: a circle for the original model,
#: a diamond for several families together, a cross for a family that is not installed here.
Mark = Literal[
    "circle", "square", "cross", "diamond", "triangle-up", "triangle-down", "triangle-left", "triangle-right",
]  # fmt: skip
#: What stands between families where a recipe has several.
AND = " + "
#: What the original model's rows have instead of a family.
ORIGINAL = "original"
#: Files in a stage's folder: its notes, and facts of the model that came into the first stage.
_NOTES, _MODEL = "deploykit-notes.json", "deploykit-model.json"
#: Note of the layers or nodes that were changed: ``[name, type, number of weights]`` for each, in order. Rows leave it
#: out.
UNITS = "units"


@dataclass(frozen=True)
class Family:
    """A group of techniques in charts, legends and lists.

    A family is for the eye only. What a technique does to a model is a matter of its effects.

    Attributes:
        name: What the legend calls it; rows store it.
        mark: What its points look like.
        order: Its place among families, smaller first; families of one place are sorted by name.

    Raises:
        SettingError: The name cannot be distinguished from others in stored rows, or there is no such mark.
    """

    name: str
    mark: Mark
    order: int

    def __post_init__(self) -> None:
        if not self.name.strip() or self.name == ORIGINAL or AND in self.name:
            raise SettingError(
                f"A family cannot be called {self.name!r}.",
                remedy=f"Choose a name other than {ORIGINAL!r}, without {AND!r}.",
            )
        if self.mark not in get_args(Mark):
            raise SettingError(
                f"The family {self.name!r} has the mark {self.mark!r}, which charts cannot draw.",
                remedy=f"Choose one of {', '.join(get_args(Mark))}.",
            )


QUANTIZE = Family("quantize", "square", 10)
PRUNE = Family("prune", "triangle-up", 20)
TRAIN = Family("train", "triangle-down", 30)


@dataclass
class TransformJob(Job):
    """A `Job` with settings and data.

    Attributes:
        parameters: All of the technique's parameters that the variant uses, checked, defaults filled in.
        data: The data, inputs named as the model's; None unless it says that it needs some.
        teacher: The original model; None unless it says that it needs it.
        teacher_format: Format of the original model.
        file: The file that a parameter names; None unless it says that it needs it.
        scored: Name of the output that the labels are about; "" for the first one.
        secret: The key that a parameter names the place of, as text; "" when there is none.
        seed: Seed of anything random.
        report: Call with (done, total, words).
    """

    parameters: dict[str, Any] | None = None
    data: Dataset | None = None
    teacher: Path | None = None
    teacher_format: str = ""
    file: Path | None = None
    scored: str = ""
    secret: str = field(default="", repr=False)
    seed: int = 0
    report: Callable[[float, float, str], None] = lambda _done, _total, _words: None

    def __getitem__(self, name: str) -> Any:
        return (self.parameters or {})[name]

    @property
    def examples(self) -> Dataset:
        """The data of work that has declared which it needs."""
        if self.data is None:
            raise DatasetError("No data were given to work that needs none.", remedy="declare what it needs.")
        return self.data

    @property
    def original(self) -> Job:
        """A job whose source is the original model, for readers of models; of work that needs ``"teacher"``."""
        if self.teacher is None:
            raise DatasetError("No teacher was given to work that needs none.", remedy='declare needs = ("teacher",).')
        return Job(self.teacher, self.target, self.teacher_format, self.imports, self.trusted)


def lacking(needs: Iterable[Need], data: Dataset | None, *, teacher: bool = True) -> str:
    """What of some needs there is not, in words; "" when all is there.

    Args:
        needs: What is needed.
        data: The data; None when there are none.
        teacher: Whether the original model is at hand.
    """
    here: set[Need] = {"file", "teacher"} if teacher else {"file"}
    if data is not None and len(data.splits["train"]):
        here |= {"calibration", "train"}
        here |= {"labels"} if data.targets("train") is not None else set()
    left = set(needs) - here
    words = " and ".join(_NEEDED[need] for need in sorted(left - ({"train"} if "labels" in left else set())))
    boxes = "labels" in left and data is not None and data.labels("train") is not None
    return f"{words}, and boxes are not what an output can be trained to give" if boxes else words


class _Work(Adapter):
    """What stages and variants declare alike.

    Attributes:
        uses: Names of the technique's parameters that have an effect here, those of its stages included; the others are
            dropped from the step's key, so that candidates that differ only in them are one.
        needs: All that it may read besides the model, its stages included. A candidate that lacks some of it is left
            out with the reason.
        seeded: Whether ``job.seed`` may change what it makes, after its stages. Say False where nothing is random, so
            that sweeps with other seeds share the work; the seed it is given is 0 then.
    """

    uses: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[tuple[Need, ...]] = ()
    seeded: ClassVar[bool] = True
    group: ClassVar[Group] = "light"

    def needs_for(self, parameters: dict[str, Any]) -> frozenset[Need]:
        """What of ``needs`` it reads with these parameters."""
        return frozenset(self.needs)

    def _begin(self, job: TransformJob, needs: Iterable[Need]) -> ModelFacts | None:
        """Take over the notes of the stage before; gives facts of the model that came into the first stage."""
        self.check_installed()
        if missing := lacking(needs, job.data, teacher=job.teacher is not None):
            raise DatasetError(f"{self.label} needs {missing}.", remedy="pass data that have it.")
        if not (file := job.source / _NOTES).is_file():
            with contextlib.suppress(DeploykitError):  # it is for the work itself to refuse what it cannot handle
                return ModelFacts.of(job.source, job.source_format, job)
            return None
        job.notes |= json.loads(file.read_text("utf-8"))
        facts = job.source / _MODEL
        plain = json.loads(facts.read_text("utf-8")) if facts.is_file() else None
        return None if plain is None else ModelFacts.from_json(plain)


class Stage(_Work):
    """Work that comes before a variant and that others need as well: a sweep does it once and keeps its folder.

    Stages of one name are one stage, whichever technique declares it.

    Attributes:
        copies: Whether it writes the model again; False when it links what the stage before has left.
        timed: Whether it measures times: the machine is part of its key then.
    """

    copies: ClassVar[bool] = True
    timed: ClassVar[bool] = False

    def prepare(self, job: TransformJob) -> None:
        """Fill the folder ``job.target`` from the model or from the folder of the stage before.

        Raises:
            UnsupportedModelError: A layer or operator cannot be handled; names it.
            DatasetError: Data it needs are missing.
        """
        facts = self._begin(job, self.needs_for(job.parameters or {}))
        job.target.mkdir(parents=True)
        self._prepare(job)
        (job.target / _NOTES).write_text(json.dumps(job.notes), "utf-8")
        (job.target / _MODEL).write_text(json.dumps(None if facts is None else facts.to_json()), "utf-8")

    @abstractmethod
    def _prepare(self, job: TransformJob) -> None:
        """Fill ``job.target``, an empty folder."""


class Variant(_Work):
    """One way to do a technique. Its ``name`` is its own, for logs and step keys.

    Attributes:
        accepts: Formats it reads.
        produces: Format it writes.
        stages: What may be done before it and may be shared; the first one reads the model, each other one the folder
            of the one before.
        keeps_layers: Whether each layer of its file has name and type of a layer of the model that it is given, and the
            same shape unless its effects say ``smaller``: what a plan knows of layers then holds for steps after it.
    """

    accepts: ClassVar[frozenset[str]]
    produces: ClassVar[str]
    stages: ClassVar[tuple[Stage, ...]] = ()
    keeps_layers: ClassVar[bool] = False

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """What it does to an artifact that decides which kernels a runtime has for it."""
        return frozenset()

    def expects(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """What must hold of the model that it is given, besides its format."""
        return ()

    def ensures(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """What holds of the file that it writes, which is checked: a technique that breaks its word fails.

        By default the signature is that of the model before, and the effects show in what is stored.
        """
        return (SameSignature(), *shown(self.effects(parameters)))

    def unable(self, parameters: dict[str, Any]) -> str:
        """Why it cannot be done with these parameters, whatever the model; "" when it can."""
        return ""

    def finishing_needs(self, parameters: dict[str, Any]) -> frozenset[Need]:
        """What it reads after its stages: all that it needs, unless it says otherwise."""
        return self.needs_for(parameters)

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """What is known to be wrong with these parameters for a model, without running anything."""
        size, count = facts.batch_size, facts.calibration_examples
        if "calibration" not in self.needs_for(parameters) or not size:
            return
        if count < size:
            yield Problem(
                "impossible",
                f"the model takes batches of {size}, but there are {count} calibration examples: raise "
                "calibration_size=",
            )
        elif count % size:
            yield Problem(
                "note",
                f"batches of {size} leave over {count % size} of {count} calibration examples, which are not used",
            )

    def unsuited(self, parameters: dict[str, Any], layers: Sequence[Layer], facts: Facts) -> Iterator[Problem]:
        """What the layers of the model that it is given show to be wrong; asked where they are known.

        Args:
            parameters: Those that it uses.
            layers: All layers; shapes are None where a step before may have changed them.
            facts: Of the original model.
        """
        del parameters, layers, facts
        return iter(())

    def bytes_a_weight(self, parameters: dict[str, Any], facts: Facts) -> float:
        """Bytes its file stores for a weight, on average: what a plan expects of its size."""
        return 4.0

    def examples(self, parameters: dict[str, Any], calibration: int, train: int) -> int:
        """Examples it works through, which its time grows with; 0 when it reads no data."""
        needs = self.needs_for(parameters)
        if "train" in needs:
            wanted = int(parameters.get("train_examples") or 0)
            return max(1, round((min(wanted, train) if wanted else train) * float(parameters.get("epochs", 1))))
        return calibration if "calibration" in needs else 0

    def stages_for(self, parameters: dict[str, Any]) -> tuple[Stage, ...]:
        """Those of ``stages`` that are done with these parameters, in order."""
        return self.stages

    def stage(self, name: str) -> Stage:
        """The stage called ``name``."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise SettingError(f"{self.label} has no stage {name!r}.")

    def apply(self, job: TransformJob) -> None:
        """Write the transformed model to ``job.target``: all stages, then `finish`.

        Raises:
            UnsupportedModelError: A layer or operator cannot be handled; names it.
            DatasetError: Data it needs are missing.
        """
        with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
            source = job.source
            for stage in self.stages_for(job.parameters or {}):
                target = Path(folder) / stage.name
                stage.prepare(replace(job, source=source, target=target, notes={}))
                source = target
            self.finish(replace(job, source=source))

    def finish(self, job: TransformJob) -> None:
        """Write the transformed model to ``job.target`` from what the last stage left in ``job.source``.

        Raises:
            UnsupportedModelError: A layer or operator cannot be handled; names it.
            DatasetError: Data it needs are missing.
            CandidateError: What it has written is not what it ensures.
        """
        parameters = job.parameters or {}
        before = self._begin(job, self.finishing_needs(parameters))
        self._apply(job)
        job.check_written(self.label)
        check(self.label, job, before, self.produces, self.ensures(parameters), job.notes.get(UNITS))

    @abstractmethod
    def _apply(self, job: TransformJob) -> None:
        """Write ``job.target``."""


class Transform(Adapter):
    """A technique.

    Attributes:
        family: Group in charts; a new group is a `Family` of its own.
        parameters: Its settings.
        variants: Ways to do it, in order of preference when two are equally near.
        excluding: Name of the parameter that leaves layers out by name or type, ``!`` before a name leaving out all
            others; "" when there is none. Variants that use it note under `UNITS` what they have changed.
        keyed: Name of the parameter that is the place of a secret key; "" when there is none. `TransformJob.secret` has
            the key, and there is nothing to do without one.
        from_file: Whether a file of the user's takes the place of the model: there is nothing to do without one.
        careful: Parameters that keep more accuracy, to try when the defaults lose too much; {} when there are none.
        one_shot: Parameters with which the effect on single layers can be compared: without training, for example.
    """

    family: ClassVar[Family]
    parameters: ClassVar[tuple[Parameter, ...]] = ()
    variants: ClassVar[tuple[Variant, ...]]
    excluding: ClassVar[str] = ""
    one_shot: ClassVar[dict[str, Value]] = {}
    careful: ClassVar[dict[str, Value]] = {}
    from_file: ClassVar[bool] = False
    keyed: ClassVar[str] = ""

    def complete(self, given: dict[str, Any]) -> dict[str, Value]:
        """All parameters, checked, defaults filled in."""
        return complete(self.parameters, given, self.name)

    def following(self, values: dict[str, Any], facts: Facts) -> dict[str, Value]:
        """Settings that a model asks for, of those that are None by default and have a usual value.

        Args:
            values: All parameters.
            facts: Of the original model.
        """
        del values, facts
        return {}

    def fitted(self, values: dict[str, Any], facts: Facts) -> dict[str, Value]:
        """All parameters, with what `following` says, else the usual value, where nothing else was given."""
        open_ = {p.name: p.usual for p in self.parameters if p.usual is not None and values[p.name] is None}
        found = self.following(values, facts) if open_ else {}
        return {**values, **{name: found.get(name, usual) for name, usual in open_.items()}}

    def idle(self, values: dict[str, Any]) -> dict[str, str]:
        """Settings that are not at their defaults and have no effect beside the others, each with the reason."""
        return idle(self.parameters, values, self.label)

    def single(self, given: dict[str, Any]) -> dict[str, Any]:
        """A step's parameters in the form of `one_shot`, without those that have no effect then."""
        found = {**given, **self.one_shot}
        idle = self.idle(self.complete(found))
        return {name: value for name, value in found.items() if name not in idle}

    def describe(self, given: dict[str, Any]) -> str:
        """The step in a few words, for tables: label, shown parameters, and those that differ from the defaults."""
        return described(self.parameters, self.complete(given), self.label)

    def effects(self, given: dict[str, Any]) -> frozenset[Effect]:
        """What a step does to a model, whichever of the variants does it.

        Raises:
            SettingError: A parameter is unknown or its value is bad.
        """
        values = self.complete(given)
        return frozenset.intersection(*(v.effects(values) for v in self.variants)) if self.variants else frozenset()

    def variant(self, name: str) -> Variant:
        """The variant called ``name``."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        raise SettingError(f"{self.name} has no variant {name!r}.")


TRANSFORMS: Registry[Transform] = Registry("deploykit.transforms", "technique")
