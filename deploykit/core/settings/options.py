"""The options of a sweep and of what belongs to it, each declared once.

A field of one of the groups below is an option: its type, and in `Annotated` its default, range, help and label. The
keyword arguments of ``dk.sweep`` and ``dk.plan`` (with their signature and the documentation of each argument), the
flags of the command line, the controls of the Workbench, the lines of the plan and the code that the Workbench writes
are all made from it. To add an option, add a field and read it where it has its effect.
"""

# Annotations are evaluated here: what they declare is the point of this module.

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypedDict

from deploykit.core.contract import AXES, KINDS
from deploykit.core.detection import KEYS
from deploykit.core.errors import SettingError
from deploykit.core.settings.budget import DEFAULT_CANDIDATES, UNITS, Budget
from deploykit.core.settings.option import Named, option

#: A metric's name, "auto", or a function of (outputs, labels) that gives one value for each example.
MetricLike = str | Callable[..., Any]

#: Ways to search a space.
SEARCHES = (
    Named("grid", "every candidate", "Every candidate of the space is built and measured."),
    Named("random", "at random", "Candidates are drawn at random from the values of the space.", "optuna", "search"),
    Named("tpe", "learn (TPE)", "Optuna proposes candidates within the values of the space and learns which ones are "
          "good.", "optuna", "search"),
    Named("nsga2", "evolve (NSGA-II)", "A genetic algorithm that evolves the whole front.", "optuna", "search"),
)  # fmt: skip


def _budget(value: Any) -> Any:
    """A budget that can be read, as it was given."""
    Budget.of(value)
    return value


def _output(value: Any) -> str:
    if not isinstance(value, str):
        raise SettingError(f"The output must be a name, got {value!r} ({type(value).__name__}).")
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
        option("text", "auto", "Quality to preserve.", label="Metric", metavar="NAME", choices=("auto",),
                adapters=("deploykit.metrics", "metric"), usual="auto, chosen from the labels", files=True,
                panel=True, hint="Auto chooses from the labels.",
                more='Name of a metric, with its setting after a colon where it has one (``"recall_at_k:5"``), '
                '``"auto"`` (accuracy for class labels, mean IoU for masks, mean absolute error for real labels, '
                "agreement with the original when there are no labels), a function of (outputs, labels) that gives one "
                'value for each example, or ``"FILE.py:FUNCTION"`` with such a function.'),
    ]  # fmt: skip
    engine: Annotated[
        Any,
        option("text", "local", "Where tasks run.", label="Machine", metavar="NAME[://ADDRESS]",
                adapters=("deploykit.engines", "engine"), address=True, panel=True,
                hint="local is this one; ssh://user@host is another one in your network.",
                more='``"local"``, ``"ssh://user@host"``, ``"adb://SERIAL"``, ``"dask://scheduler:8786"``, '
                "or a connected ``distributed.Client``."),
    ]  # fmt: skip


class SeedOptions(TypedDict, total=False):
    """What makes a run repeatable."""

    seed: Annotated[
        int,
        option("int", 0, "Seed of fine-tuning and of the timing order.", label="Seed", metavar="N", minimum=0),
    ]


class ProcessOptions(TypedDict, total=False):
    """Limits of child processes."""

    timeout: Annotated[
        float,
        option("float", 600.0, "Time limit per task in seconds.", label="Time limit per task", metavar="S", minimum=0,
                exclusive=True, unit="seconds", usual="600; 60 to 300 for reading the model",
                more="A build step or evaluation that takes longer is stopped."),
    ]  # fmt: skip
    memory: Annotated[
        float,
        option("float", 0.0, "Memory limit per child process in gigabytes.", label="Memory limit per process",
                metavar="GB", minimum=0, unit="GB", usual="6.4", more="A gigabyte has 10⁹ bytes; 0: the default."),
    ]  # fmt: skip


class TimingOptions(TypedDict, total=False):
    """How long candidates are measured."""

    launches: Annotated[
        int,
        option("int", 10, "Timing launches per session.", label="Timing launches per candidate", metavar="N",
                minimum=2, special=(0, "skip latency"), panel=True,
                hint="10 give reliable intervals; fewer are faster but give wider ones.",
                more="Fewer are faster and give wider intervals. 0 skips latency."),
    ]  # fmt: skip
    adaptive: Annotated[
        bool,
        option("bool", True, "Time candidates that are clearly slower than another one and no more accurate only "
                "three times.", label="Time promising candidates longer", panel=True,
                hint="Candidates that are slower than another one (95 % confidence) and no more accurate get only "
                "three launches.",
                no="time all candidates equally often, even those far from the front",
                more="Such candidates have the flag \"screened\". If False, all candidates get all launches."),
    ]  # fmt: skip
    max_drop: Annotated[
        float | None,
        option("float", None, "Drop candidates early once they are confirmed to lose more than this; they are not "
                "timed.", label="Skip candidates that lose more than the goal allows", metavar="D", minimum=0,
                panel=True, of_goal=True,
                hint="They are not timed once the larger loss is confirmed (95 % confidence).",
                more="Largest acceptable loss, in the metric's units as in ``Report.best``, for example 0.01; it must "
                "be confirmed (95 % confidence). The plan says whether there are enough examples for that. None: all "
                "candidates are measured."),
    ]  # fmt: skip
    racing: Annotated[
        bool,
        option("bool", True, "Stop evaluating candidates as soon as a loss above max_drop is confirmed.",
                label="Stop their evaluation early", under="max_drop", panel=True,
                hint="Otherwise they are evaluated on all of the data.",
                no="evaluate every candidate on all of the data, whatever --max-drop says",
                more="If False, ``max_drop`` only decides which candidates are timed."),
    ]  # fmt: skip


class RobustnessOptions(TypedDict, total=False):
    """Whether candidates are attacked."""

    attacks: Annotated[
        int,
        option("int", 0, "Examples to attack: changed by little on purpose, to see what it does to robustness.",
                label="Examples to attack", metavar="N", minimum=0, special=(0, "attack none"), panel=True,
                hint="Takes 200 questions for each example and candidate.",
                more="Each row gets the accuracy on examples made against the original by 20 steps of PGD, after the "
                "Square attack on the candidate itself (200 questions an example), and under the worse of both."),
    ]  # fmt: skip
    strength: Annotated[
        float,
        option("float", 0.03, "Largest change of an input value by attacks, as a share of the range of all values.",
                label="Largest change", metavar="E", minimum=0, maximum=1, under="attacks", panel=True),
    ]  # fmt: skip


class SearchOptions(TypedDict, total=False):
    """Which candidates are tried."""

    search: Annotated[
        str,
        option("choice", "grid", "grid tries the whole space; random, tpe and nsga2 let Optuna pick candidates within "
                "it.", label="Candidates to try", metavar="NAME", named=SEARCHES, panel=True,
                more="Optuna's samplers learn from all rows in the store."),
    ]  # fmt: skip
    budget: Annotated[
        float | str | None,
        option("text", None, 'Budget of a search: seconds, "10 min" or "40 candidates".', label="Budget", metavar="B",
                usual=f"{DEFAULT_CANDIDATES} candidates", read=_budget, units=UNITS, under="search", binding=True,
                panel=True,
                more="Candidates that are already in the store count; no batch of candidates starts after the time is "
                "up. The original model and a second round (``space.refine``) are not included."),
    ]  # fmt: skip
    sensitivity: Annotated[
        bool,
        option("bool", False, "Find the layers a technique harms most and try leaving them out.",
                label="Find the layers a technique harms most", panel=True,
                hint="Applies each technique to one layer at a time, and tries the most promising exclusions.",
                more="After the first candidates, each technique that can leave layers out is applied to one layer and "
                "one type of operators at a time and to all but one (see `deploykit.sensitivity`), and the most "
                "promising exclusions also become candidates."),
    ]  # fmt: skip


class SignatureOptions(TypedDict, total=False):
    """What the user says of the model's signature."""

    output: Annotated[
        str | None,
        option("text", None, "Output to score.", metavar="NAME", usual="the first one the labels fit", read=_output,
                more="Every other output is compared with the original's."),
    ]  # fmt: skip
    scores: Annotated[
        str | None,
        option("text", None, f"What it holds: {', '.join((*KINDS, *AXES))}.", metavar="KIND", usual="inferred",
                read=_as_given, more="None: decided by operators, shapes, ranges and names."),
    ]  # fmt: skip
    state: Annotated[
        Mapping[str, str] | None,
        option("text", None, "Output that feeds an input at the next step.", metavar="OUTPUT=INPUT", read=_as_given,
                pairs=True,
                more="A dictionary, for models that keep a state. Examples with one axis more than the model takes are "
                "sequences of steps; other examples each start with fresh state."),
    ]  # fmt: skip
    constants: Annotated[
        Mapping[str, Any] | None,
        option("text", None, "Input that always gets this value: a number, or several separated by commas.",
                metavar="INPUT=VALUE", flag="constant", read=_as_given, parse=number_or_text, pairs=True,
                more='A dictionary, for example ``{"sr": 16000}``.'),
    ]  # fmt: skip
    boxes: Annotated[
        Mapping[str, Any] | None,
        option("text", None, f"How a detector's outputs hold boxes: {', '.join(KEYS)}.", metavar="NAME=VALUE",
                read=_as_given, parse=number_or_text, pairs=True,
                more='A dictionary, for example ``{"format": "xyxy", "nms": "outside", "iou": 0.6}``. What is left out '
                "is found out by names, shapes, ranges and labels, or asked for."),
    ]  # fmt: skip
    generate: Annotated[
        int,
        option("int", 0, "Tokens that a decoder with a cache writes after each example, greedily.",
                label="Tokens to write", metavar="N", minimum=0, maximum=100_000, step=1,
                special=(0, "only read the examples"), panel=True, about="decoder",
                hint="Written after each example, which judges and times writing; 0 only reads the examples.",
                more="The written tokens, or the text that a tokenizer makes of them, are then its answer: metrics of "
                "texts judge it, and the server gives it. 0: scores of the next token at each place of the example "
                "are."),
    ]  # fmt: skip


class ExamineOptions(ProcessOptions, SignatureOptions, total=False):
    """Options of ``dk.examine``."""


class BuildOptions(SeedOptions, ProcessOptions, SignatureOptions, total=False):
    """Options of ``dk.build``."""


class SensitivityOptions(ScoringOptions, SeedOptions, ProcessOptions, SignatureOptions, total=False):
    """Options of ``dk.sensitivity``."""


class SweepOptions(
    ScoringOptions,
    SeedOptions,
    ProcessOptions,
    TimingOptions,
    RobustnessOptions,
    SearchOptions,
    SignatureOptions,
    total=False,
):
    """Options of ``dk.sweep``, ``dk.start_sweep`` and ``dk.plan``."""
