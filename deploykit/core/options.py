"""The options of a sweep and of what belongs to it, each declared once.

A field of one of the groups below is an option: its type, and in `Annotated` its default, range, help and label. The
keyword arguments of ``dk.sweep`` and ``dk.plan`` (with their signature and the documentation of each argument), the
flags of the command line, the controls of the Workbench, the lines of the plan and the code that the Workbench writes
are all made from it. To add an option, add a field and read it where it has its effect.
"""

# Annotations are evaluated here: what they declare is the point of this module.

import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypedDict, TypeVar, get_args, get_type_hints

from deploykit.core.budget import DEFAULT_CANDIDATES, UNITS, Budget
from deploykit.core.contract import AXES, KINDS
from deploykit.core.errors import SettingError, unknown_name
from deploykit.core.extras import installed, require
from deploykit.core.parameter import Parameter, Value
from deploykit.core.registry import registry

#: A metric's name, "auto", or a function of (outputs, labels) that gives one value for each example.
MetricLike = str | Callable[..., Any]
Function = TypeVar("Function", bound=Callable[..., Any])
_WIDTH = 120


@dataclass(frozen=True)
class Named:
    """A value of a choice, with a label and a sentence for people, and the extra that it needs."""

    value: str
    label: str
    help: str
    module: str = ""
    extra: str = ""

    def missing(self) -> str:
        """Why it cannot be chosen here; "" when it can."""
        return (
            ""
            if not self.module or installed(self.module)
            else f"{self.module} not installed; pip install 'deploykit[{self.extra}]'"
        )


#: Ways to search a space.
SEARCHES = (
    Named("grid", "every candidate", "Every candidate of the space is built and measured."),
    Named("random", "at random", "Candidates are drawn at random from the values of the space.", "optuna", "search"),
    Named("tpe", "learn (TPE)", "Optuna proposes candidates within the values of the space and learns which ones are "
          "good.", "optuna", "search"),
    Named("nsga2", "evolve (NSGA-II)", "A genetic algorithm that evolves the whole front.", "optuna", "search"),
)  # fmt: skip


@dataclass(frozen=True)
class Option(Parameter):
    """One option: a parameter with what only options have.

    Its ``help`` is the sentence for the command line and the Workbench.

    Attributes:
        more: Further sentences for the documentation of the argument.
        metavar: What its value is called in usage lines.
        flag: Flag of the command line; empty: derived from ``name``.
        no: Help of the flag that turns off what is on by default.
        usual: The default in words, where the value does not say it.
        special: A value outside the range, with what it does.
        exclusive: The minimum itself is not allowed.
        named: The choices, in place of ``choices``.
        adapters: Package and kind of the adapters whose names are choices as well.
        under: The option it only matters with: its control is shown when that one differs from its default. If it is
            ``binding``, setting it without that one is an error.
        panel: The Workbench has a control for it.
        of_goal: In the Workbench it is a switch that takes the value from the goal's field of the same name.
        units: A number with one of these units.
        read: Checks a value, in place of the range.
        parse: Reads a value from the command line, in place of its type.
        pairs: A dictionary: the flag takes one NAME=VALUE and can be repeated.
        address: The name of an adapter may be followed by ``://`` and an address.
    """

    more: str = ""
    metavar: str = ""
    flag: str = ""
    no: str = ""
    usual: str = ""
    special: tuple[float, str] | None = None
    exclusive: bool = False
    named: tuple[Named, ...] = ()
    adapters: tuple[str, str] | None = None
    under: str = ""
    panel: bool = False
    of_goal: bool = False
    units: tuple[str, ...] = ()
    read: Callable[[Any], Any] | None = None
    parse: Callable[[str], Any] | None = None
    pairs: bool = False
    address: bool = False

    @property
    def known(self) -> tuple[str, ...]:
        """All values of a choice; for an option with adapters, those installed here."""
        found = registry(*self.adapters).names() if self.adapters else ()
        return (*self.choices, *(n.value for n in self.named), *found)

    @property
    def bounds(self) -> str:
        """The range in words with its unit and its special value, "" when there is none."""
        found = super().bounds
        if self.exclusive:
            found = f"more than {self.minimum:g}"
        found = f"{found} {self.unit}".strip() if found else ""
        return f"{found}, or {self.special[0]:g} to {self.special[1]}" if found and self.special else found

    def check(self, value: Any, owner: str = "") -> Any:
        """The value in its canonical type.

        Raises:
            SettingError: Wrong type or out of range; names the option, the range and the value.
            MissingExtraError: The choice needs a package that is not installed.
        """
        if value is None and self.default is None:
            return None
        if self.read is not None:
            return self.read(value)
        if self.adapters is not None and not isinstance(value, str):
            return value
        if self.kind == "choice" or self.adapters is not None:
            name = str(value).partition("://")[0] if self.address else value
            if name not in self.known:
                raise unknown_name(self.name, name, self.known)
            for choice in self.named:
                if choice.value == value and choice.module:
                    require(choice.module, choice.extra)
            return value
        if self.special is not None and value == self.special[0] and not isinstance(value, bool):
            return type(self.default)(value) if self.default is not None else value
        if self.exclusive and not isinstance(value, bool) and isinstance(value, int | float):
            assert self.minimum is not None
            if value <= self.minimum:
                raise SettingError(f"{self.name} must be {self.bounds}, got {value!r}.", remedy=self.remedy)
        return super().check(value, owner)

    @property
    def remedy(self) -> str:
        """The default in words."""
        return f"the default is {self.usual}." if self.usual else super().remedy


def _option(kind: Literal["float", "int", "bool", "choice", "text"], default: Any, help: str, **more: Any) -> Option:  # noqa: A002
    """An option; its name is that of its field."""
    return Option("", kind, default, help, **more)


def _budget(value: Any) -> Any:
    """A budget that can be read, as it was given."""
    Budget.of(value)
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise SettingError(f"Expected a name, got {value!r} ({type(value).__name__}).")
    return value


def _as_given(value: Any) -> Any:
    """Checked with the model's signature, see `Declared`."""
    return value


def number_or_text(text: str) -> Any:
    """What is written on the command line: numbers, true and false where it says so, else text; lists at commas."""

    def one(part: str) -> Any:
        for kind in (int, float):
            try:
                return kind(part)
            except ValueError:
                continue
        return part == "true" if part in ("true", "false") else part

    values = [one(part) for part in text.split(",")]
    return values if len(values) > 1 else values[0]


class ScoringOptions(TypedDict, total=False):
    """What is judged, and where tasks run."""

    metric: Annotated[
        MetricLike,
        _option("text", "auto", "Quality to preserve.", label="Metric", metavar="NAME", choices=("auto",),
                adapters=("deploykit.metrics", "metric"), usual="auto, chosen from the labels",
                more='Name of a metric, ``"auto"`` (accuracy for class labels, mean absolute error for real labels, '
                "agreement with the original when there are no labels), or a function of (outputs, labels) that gives "
                "one value for each example."),
    ]  # fmt: skip
    engine: Annotated[
        Any,
        _option("text", "local", "Where tasks run.", label="Engine", metavar="NAME[://ADDRESS]",
                adapters=("deploykit.engines", "engine"), address=True,
                more='``"local"``, ``"dask://scheduler:8786"``, or a connected ``distributed.Client``.'),
    ]  # fmt: skip


class SeedOptions(TypedDict, total=False):
    """What makes a run repeatable."""

    seed: Annotated[
        int,
        _option("int", 0, "Seed of fine-tuning and of the timing order.", label="Seed", metavar="N", minimum=0),
    ]


class ProcessOptions(TypedDict, total=False):
    """Limits of child processes."""

    timeout: Annotated[
        float,
        _option("float", 600.0, "Time limit per task in seconds.", label="Time limit per task", metavar="S", minimum=0,
                exclusive=True, unit="seconds", usual="600; 60 to 300 for reading the model",
                more="A build step or evaluation that takes longer is stopped."),
    ]  # fmt: skip
    memory: Annotated[
        float,
        _option("float", 0.0, "Memory limit per child process in gigabytes.", label="Memory limit per process",
                metavar="GB", minimum=0, unit="GB", usual="6.4", more="A gigabyte has 10⁹ bytes; 0: the default."),
    ]  # fmt: skip


class TimingOptions(TypedDict, total=False):
    """How long candidates are measured."""

    launches: Annotated[
        int,
        _option("int", 10, "Timing launches per session.", label="Timing launches per candidate", metavar="N",
                minimum=2, special=(0, "skip latency"), panel=True,
                more="10 give reliable intervals; fewer are faster but give wider ones. 0 skips latency."),
    ]  # fmt: skip
    adaptive: Annotated[
        bool,
        _option("bool", True, "Candidates that are slower than another one (95 % confidence) and no more accurate get "
                "only three launches.", label="Time promising candidates longer", panel=True,
                no="time all candidates equally often, even those far from the front",
                more="Such candidates have the flag \"screened\". If False, all candidates get all launches."),
    ]  # fmt: skip
    max_drop: Annotated[
        float | None,
        _option("float", None, "Drop candidates early once they are confirmed to lose more than this; they are not "
                "timed.", label="Skip candidates that lose more than the goal allows", metavar="D", minimum=0,
                panel=True, of_goal=True,
                more="Largest acceptable loss, in the metric's units as in ``Report.best``, for example 0.01; it must "
                "be confirmed (95 % confidence). The plan says whether there are enough examples for that. None: all "
                "candidates are measured."),
    ]  # fmt: skip
    racing: Annotated[
        bool,
        _option("bool", True, "Their evaluation stops as soon as the larger loss is confirmed. Otherwise they are "
                "evaluated on all of the data.", label="Stop their evaluation early", under="max_drop", panel=True,
                no="evaluate every candidate on all of the data, whatever --max-drop says",
                more="If False, ``max_drop`` only decides which candidates are timed."),
    ]  # fmt: skip


class SearchOptions(TypedDict, total=False):
    """Which candidates are tried."""

    search: Annotated[
        str,
        _option("choice", "grid", "grid tries the whole space; random, tpe and nsga2 let Optuna pick candidates within "
                "it.", label="Candidates to try", metavar="NAME", named=SEARCHES, panel=True,
                more="Optuna's samplers learn from all rows in the store."),
    ]  # fmt: skip
    budget: Annotated[
        float | str | None,
        _option("text", None, 'Budget of a search: seconds, "10 min" or "40 candidates".', label="Budget", metavar="B",
                usual=f"{DEFAULT_CANDIDATES} candidates", read=_budget, units=UNITS, under="search", binding=True,
                panel=True,
                more="Candidates that are already in the store count; no batch of candidates starts after the time is "
                "up. The original model and a second round (``space.refine``) are not included."),
    ]  # fmt: skip
    sensitivity: Annotated[
        bool,
        _option("bool", False, "Find the layers a technique harms most and try leaving them out.",
                label="Find the layers a technique harms most", panel=True,
                more="After the first candidates, each technique that can leave layers out is applied to one layer and "
                "one type of operators at a time and to all but one (see `deploykit.sensitivity`), and the most "
                "promising exclusions also become candidates."),
    ]  # fmt: skip


class SignatureOptions(TypedDict, total=False):
    """What the user says of the model's signature."""

    output: Annotated[
        str | None,
        _option("text", None, "Output to score.", metavar="NAME", usual="the first one the labels fit", read=_text,
                more="Every other output is compared with the original's."),
    ]  # fmt: skip
    scores: Annotated[
        str | None,
        _option("text", None, f"What it holds: {', '.join((*KINDS, *AXES))}.", metavar="KIND", usual="inferred",
                read=_as_given, more="None: decided by operators, shapes, ranges and names."),
    ]  # fmt: skip
    state: Annotated[
        Mapping[str, str] | None,
        _option("text", None, "Output that feeds an input at the next step.", metavar="OUTPUT=INPUT", read=_as_given,
                pairs=True,
                more="A dictionary, for models that keep a state. Examples with one axis more than the model takes are "
                "sequences of steps; other examples each start with fresh state."),
    ]  # fmt: skip
    constants: Annotated[
        Mapping[str, Any] | None,
        _option("text", None, "Input that always gets this value: a number, or several separated by commas.",
                metavar="INPUT=VALUE", flag="constant", read=_as_given, parse=number_or_text, pairs=True,
                more='A dictionary, for example ``{"sr": 16000}``.'),
    ]  # fmt: skip


class ExamineOptions(ProcessOptions, SignatureOptions, total=False):
    """Options of ``dk.examine``."""


class BuildOptions(SeedOptions, ProcessOptions, SignatureOptions, total=False):
    """Options of ``dk.build``."""


class SensitivityOptions(ScoringOptions, SeedOptions, ProcessOptions, SignatureOptions, total=False):
    """Options of ``dk.sensitivity``."""


class SweepOptions(
    ScoringOptions, SeedOptions, ProcessOptions, TimingOptions, SearchOptions, SignatureOptions, total=False
):
    """Options of ``dk.sweep``, ``dk.start_sweep`` and ``dk.plan``."""


def options_of(group: type) -> dict[str, Option]:
    """The options of a group in their order."""
    hints = get_type_hints(group, include_extras=True)
    found = {name: next(o for o in get_args(hint)[1:] if isinstance(o, Option)) for name, hint in hints.items()}
    return {name: replace(option, name=name) for name, option in found.items()}


Group = TypeVar("Group", bound=Mapping[str, Any])


def complete(group: type[Group], given: Mapping[str, Any]) -> Group:
    """All options of a group with their values, checked, defaults filled in.

    Raises:
        SettingError: An unknown option (lists the known ones), a bad value, or one that needs another option.
        MissingExtraError: A choice needs a package that is not installed.
    """
    known = options_of(group)
    for name in given:
        if name not in known:
            raise unknown_name("option", name, known)
    found = {name: option.check(given.get(name, option.default)) for name, option in known.items()}
    for name, option in known.items():
        other = known.get(option.under)
        if option.binding and other and found[name] != option.default and found[option.under] == other.default:
            raise SettingError(
                f"{name} applies only together with {option.under}: it was {found[name]!r} with the default "
                f"{option.under}, {other.default!r}.",
                remedy=f"also set {option.under}"
                + (f" ({', '.join(n for n in other.known if n != other.default)})." if other.known else "."),
            )
    return found  # type: ignore[return-value]  # a TypedDict of these names, checked one by one


def changed(group: type, values: Mapping[str, Any]) -> dict[str, Value]:
    """The values that differ from their defaults, in the order of the declaration, as a plan names them.

    A function goes by its name and a connection by its type; what is said of the signature is in the contract.
    """
    return {
        name: value if isinstance(value, bool | int | float | str) else getattr(value, "__name__", type(value).__name__)
        for name, option in options_of(group).items()
        if (value := values[name]) != option.default and not isinstance(value, Mapping)
    }


def takes(group: type) -> Callable[[Function], Function]:
    """Give a function with ``**options: Unpack[GROUP]`` the signature and the documentation of these options."""

    def decorate(function: Function) -> Function:
        options = options_of(group)
        types = get_type_hints(group)
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        keywords = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option.default, annotation=types[name])
            for name, option in options.items()
        ]
        function.__signature__ = signature.replace(parameters=[*own, *keywords])  # type: ignore[attr-defined]
        lines = (function.__doc__ or "").splitlines()
        place = next(i for i, line in enumerate(lines) if line.strip().startswith("**options:"))
        described = [line for name, option in options.items() for line in _documented(name, option)]
        function.__doc__ = "\n".join([*lines[:place], *described, *lines[place + 1 :]])
        return function

    return decorate


def _documented(name: str, option: Option) -> list[str]:
    words = " ".join(filter(None, (option.help, *(f'``"{n.value}"``: {n.help}' for n in option.named), option.more)))
    return textwrap.wrap(
        f"{name}: {words}", _WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 12, break_long_words=False
    )
