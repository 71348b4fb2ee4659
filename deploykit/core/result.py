"""What was measured of a candidate, and the row of it in a report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from deploykit.core.candidate import Candidate, Recipe
from deploykit.core.contract import MAX_OUTPUT_ERROR, MIN_AGREEMENT
from deploykit.core.serial import RARE, Plain

#: Key of `Result.notes` under which older versions stored the machines that were lost.
_LOST = "lost_workers"


#: What examples come in that are parts of something; readers of other data give none.
GROUPS = "videos"


@dataclass(frozen=True)
class Interval(Plain):
    """An estimate with its 95 % confidence interval."""

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of the interval's length."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Score(Plain):
    """A metric on the evaluation split.

    Attributes:
        metric: Name of the metric.
        value: Mean over the examples; the metric of all together where it is not one (an area under a curve).
        change: Paired change against the original model: a difference for scores that grow with quality (accuracy,
            agreement), a ratio minus one for errors. Negative is worse for the former, positive for the latter.
        drop: The change as a loss, so that positive is worse for every metric; what ``max_drop`` limits.
        examples: How many examples it rests on.
        higher_is_better: Direction of ``value``.
        p_value: Exact McNemar test (hits) or paired t-test (of pseudo-values if not a mean) against the original.
        groups: How many groups the examples come in, such as videos whose frames they are: interval and test count
            groups. 0 where examples stand for themselves.
    """

    metric: str
    value: float
    change: Interval
    drop: Interval
    examples: int
    higher_is_better: bool = True
    p_value: float = 1.0
    groups: int = field(default=0, metadata={RARE: True})

    @property
    def counted(self) -> tuple[int, str]:
        """What interval and test count: how many, and what they are called."""
        return (self.groups, GROUPS) if self.groups else (self.examples, "examples")


@dataclass(frozen=True)
class Latency(Plain):
    """Latency of one inference of ``batch_size`` examples.

    Attributes:
        p50_ms: Median over all launches, with a t-interval over the launches' medians.
        p90_ms: 90th percentile.
        p99_ms: 99th percentile, None when fewer than ten samples lie above it.
        speedup: Against the original model (baseline latency / this latency), t-interval over launches.
        speedup_same_runtime: Against float32 on the same runtime, device and threads; None when that was not measured.
        cpu_ms: CPU time of one inference over all threads.
        launches: How many launches.
        runs: How many timed inferences.
        noise_floor: Half-width of the largest ratio at which two copies of the baseline are indistinguishable
            (relative).
        flags: ``"noisy"``, ``"inconclusive"``, ``"not warm"``, ``"throttled"``: in a launch, the machine said that it
            slows itself down.
        claim: What may be said at the 95 % level after Holm's correction over all candidates.
        involuntary_switches: Context switches forced on the process while it was timed, per 1000 inferences.
        steal: Share of one core's time that the hypervisor gave to other guests during the launches.
        technique_claim: What may be said in the same way of the technique alone: against float32 on the same runtime,
            device and threads. "" when that was not measured, and in stores of an older version.
    """

    p50_ms: Interval
    p90_ms: float
    p99_ms: float | None
    speedup: Interval
    speedup_same_runtime: Interval | None
    cpu_ms: float
    launches: int
    runs: int
    noise_floor: float
    flags: tuple[str, ...] = ()
    claim: Literal["baseline", "faster", "slower", "same", "unclear"] = "unclear"
    involuntary_switches: float = 0.0
    steal: float = 0.0
    technique_claim: Literal["faster", "slower", "same", "unclear", ""] = ""


@dataclass(frozen=True)
class Footprint(Plain):
    """What a candidate takes of its host beside latency: from the same launches, with intervals over them.

    Each launch loads the file in a fresh process whose libraries are imported already. None: no launch had a value.

    Attributes:
        load_ms: Opening the file while it is in the system's cache.
        cold_load_ms: Opening it when it is not: it comes from the disk. Every second launch does so.
        first_ms: The first inference after opening, before any warm-up.
        throughput: Examples per second, inferences of the target's batch size one after another. Of a decoder that
            writes, whole texts one after another; None for other batch sizes than 1.
        memory_bytes: Growth of the process's private memory by loading and running the model.
        energy_mj: Millijoules per example of what ``energy_from`` names, as a whole: its idle power is counted as well.
        energy_from: The counter, for example ``"RAPL: package-0, dram"``; "" where there was none.
        missing: Column that could not be measured here → why.
        tokens_per_second: Tokens that a decoder writes for one text, with its cache and after the first ones, greedily.
    """

    load_ms: Interval | None = None
    cold_load_ms: Interval | None = None
    first_ms: Interval | None = None
    throughput: Interval | None = None
    memory_bytes: Interval | None = None
    energy_mj: Interval | None = None
    energy_from: str = ""
    missing: dict[str, str] = field(default_factory=dict)
    tokens_per_second: Interval | None = None

    def cost_per_million(self, price_per_hour: float) -> Interval | None:
        """What a million predictions cost on a machine with that price, made one batch after another.

        Args:
            price_per_hour: Of the whole machine, in any currency; the cost is in the same.

        Returns:
            With the interval of the throughput; None where that was not measured.
        """
        if self.throughput is None or not price_per_hour:
            return None
        million = 1e6 * price_per_hour / 3600
        fast, slow = self.throughput.high, self.throughput.low
        return Interval(million / self.throughput.value, million / fast, million / slow if slow > 0 else 1e30)


@dataclass(frozen=True)
class LengthTime(Plain):
    """Latency at one size of the free dimensions, see ``Target.lengths``.

    Attributes:
        length: The size.
        p50_ms: Median latency of an inference, mean over launches with a t-interval.
        speedup: Against the original model at the same size, if that was timed.
    """

    length: int
    p50_ms: Interval
    speedup: Interval | None = None


@dataclass(frozen=True)
class LayerTime(Plain):
    """One layer of a candidate beside the same layer of float32 on the same runtime, from the runtime's profiler.

    Attributes:
        name: Name for people: the float model's, without the prefix all names share.
        node: Name of the node in the candidate's file.
        operator: Type of operator as the candidate executes it.
        kernel: What the runtime tells of the candidate's kernel.
        kind: ``"conv"``, ``"matmul"``, ``"convert"`` (quantizes, dequantizes, casts), ``"move"`` or ``"compute"``.
        float_ms: Time in float32; None for nodes the candidate has on top.
        ms: Time in the candidate; None for layers it lacks.
        precision: What the candidate computes in: ``"int8"``, ``"float32"``, …
        trait: Why its kernel may be slow whatever the layer: ``"reference"``, ``"signed"``, ``"dynamic"`` or "".
    """

    name: str
    node: str
    operator: str
    kernel: str
    kind: str
    float_ms: float | None
    ms: float | None
    precision: str = ""
    trait: str = ""

    @property
    def quantized(self) -> bool:
        """Whether the candidate computes it in integers."""
        return self.precision == "int8"

    @property
    def ratio(self) -> float | None:
        """Time in the candidate divided by time in float32; None when it is in one of them only."""
        return self.ms / self.float_ms if self.ms is not None and self.float_ms else None


@dataclass(frozen=True)
class Finding(Plain):
    """A reason why a candidate is as fast as it is.

    Attributes:
        cause: Name of the cause.
        text: What was found, in plain words with its numbers.
        share: Share of the candidate's time it concerns, 0 when that cannot be determined.
        layers: The layers it is about, slowest first, at most five.
        remedy: What to do about it.
        fix: The recipe that does it; None when no recipe can.
    """

    cause: str
    text: str
    share: float = 0.0
    layers: tuple[LayerTime, ...] = ()
    remedy: str = ""
    fix: Recipe | None = None


@dataclass(frozen=True)
class Judged(Plain):
    """How near an output that is not scored stays to the original's.

    Attributes:
        kind: What its numbers are, see ``deploykit.core.contract.KINDS``.
        error: Mean absolute difference of its worst column, as a share of the column's mean absolute deviation; None
            when it holds no real numbers.
        agreement: Share of answers that are the original's; None when its answers are not classes.
        missing: Share of numbers that are NaN where the original's are not.
        problem: What keeps it from being compared, "" when nothing does.
    """

    kind: str
    error: float | None
    agreement: float | None
    missing: float = 0.0
    problem: str = ""

    @property
    def words(self) -> str:
        """How near it stays, in words."""
        if self.problem:
            return f"not comparable with the original's: {self.problem}"
        found = []
        if self.error is not None:
            found.append(f"off by {100 * self.error:.2g} % of the original's spread (worst column)")
        if self.agreement is not None:
            found.append(f"{100 * self.agreement:.4g} % of its answers match the original's")
        if self.missing:
            found.append(f"{100 * self.missing:.2g} % of its values are NaN")
        return ", ".join(found) or "nothing to compare"

    def ruined(self, max_error: float, min_agreement: float) -> str:
        """Why it may not stand for the original's, in words; "" when it may."""
        if self.problem:
            return f"has a different shape: {self.problem}"
        if self.missing:
            return f"is NaN for {100 * self.missing:.1f} % of its values"
        if self.agreement is not None:
            same = f"agrees on {100 * self.agreement:.1f} % of its answers"
            return f"{same}, {100 * min_agreement:g} % is required" if self.agreement < min_agreement else ""
        if self.error is not None and self.error > max_error:
            return f"is off by {100 * self.error:.0f} % of its spread, {100 * max_error:g} % is allowed"
        return ""


@dataclass(frozen=True)
class Measurement(Plain):
    """All that was measured of one candidate.

    Attributes:
        scores: The metrics; the first one is the one the sweep was asked for.
        latency: None while it has not been timed.
        size_bytes: Size of the artifact.
        compressed_bytes: Size after gzip (``deploykit.core.digest.compressed_size``): in storage and transfer.
        peak_memory_bytes: Growth of a fresh process's private memory by loading and running it, without mapped files.
        environment: Host, CPU, governor, load and package versions at the time.
        confirmation: The first metric on the test split, which chose nothing.
        flips: Examples of the evaluation split (indices) whose answer differs from the original's, the first 1000.
        profile: Key of the store's record with the time of each layer; "" when the runtime has no profiler.
        findings: Why it is as fast as it is, the weightiest reason first.
        outputs: Key under which the store keeps its outputs; "" when it was stopped early, or by an older version.
        flips_count: How many answers differ; None in stores of an older version, which kept no more than the list.
        seconds: Of work in other processes, by stage (``build accuracy latency``); shared steps count for each.
        others: Output that is not scored → how near it stays to the original's, on the evaluation split.
        batch: Examples that were evaluated at once: the target's batch size where answers depend on their batch.
        batch_dependent: Whether an example's answer depends on the others in its batch.
        same_function: Whether all outputs are the original's to rounding: a conversion that lost nothing.
        footprint: Load time, throughput, memory and energy; None until it is timed, and in stores of an older version.
        lengths: Latency at the sizes that the target names.
        collapsed: What it has lost altogether, in sentences: classes that are never found, outputs that are all equal.
        placed: What its device left to another one, or which one was chosen, in words; "" for nothing to say.
    """

    scores: tuple[Score, ...]
    latency: Latency | None
    size_bytes: int
    compressed_bytes: int
    peak_memory_bytes: int | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    confirmation: Score | None = None
    flips: tuple[int, ...] = ()
    profile: str = ""
    findings: tuple[Finding, ...] = ()
    outputs: str = ""
    flips_count: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    others: dict[str, Judged] = field(default_factory=dict)
    batch: int = 0
    batch_dependent: bool = False
    same_function: bool = False
    footprint: Footprint | None = None
    lengths: tuple[LengthTime, ...] = ()
    collapsed: tuple[str, ...] = ()
    placed: str = ""

    def ruined(self, max_error: float = MAX_OUTPUT_ERROR, min_agreement: float = MIN_AGREEMENT) -> str:
        """Which output that is not scored differs too much from the original's, in words; "" when none does."""
        found = {name: why for name, judged in self.others.items() if (why := judged.ruined(max_error, min_agreement))}
        return "; ".join(f"output {name!r} {why}" for name, why in found.items())

    def scored(self, metric: str) -> Score | None:
        """The score of a metric; None if it was not measured."""
        return next((score for score in self.scores if score.metric == metric), None)

    @property
    def changed(self) -> int:
        """How many answers differ from the original's."""
        return len(self.flips) if self.flips_count is None else self.flips_count

    @property
    def seconds_taken(self) -> float | None:
        """Seconds of all stages together; None in stores of an older version."""
        return sum(self.seconds.values()) if self.seconds else None

    @property
    def score(self) -> Score:
        """The metric the sweep was asked for."""
        return self.scores[0]


@dataclass(frozen=True)
class Failure(Plain):
    """Why a candidate has no measurement.

    Attributes:
        stage: ``"build"``, ``"accuracy"`` or ``"latency"``, with the step's name.
        error: Type of the error.
        cause: What happened.
        remedy: What to do about it.
        log: Path of the child's log file relative to the store, "" when there is none.
    """

    stage: str
    error: str
    cause: str
    remedy: str = ""
    log: str = ""


@dataclass(frozen=True)
class Result(Plain):
    """The row of one candidate, failed ones too.

    Attributes:
        key: The candidate's key.
        candidate: Recipe and target.
        status: ``"measured"``; ``"failed"`` (see ``failure``); ``"stopped"``: given up early because it is confirmed to
            lose too much (see ``stopped``); ``"pending"``: not finished when the report was made.
        label: The recipe in words, short.
        family: Group for charts: ``original``, or the names of its techniques' families, joined by ``" + "``.
        format: Format of the artifact.
        artifact: Path of the artifact relative to the store.
        artifact_digest: SHA-256 of it.
        same_as: Key of an earlier candidate whose artifact is byte-identical on the same target.
        measurement: What was measured.
        failure: Why it failed.
        notes: Adapter → facts its build step reported, for example the sparsity that was reached.
        stopped: Why it was given up before all of the data were used; its scores are of the examples up to then.
        compiled: Path, relative to the store, of what its runtime has compiled of the artifact for the machine that
            measured; "" when the artifact itself is run.
        lost_workers: Machines that were lost while they worked on it, and why; the work was redone.

    Example:
        >>> space = dk.Space([dk.Recipe((dk.Step("quantize_dynamic"),))], [dk.Target("onnxruntime")])
        >>> report = dk.sweep(model, data, space, store="runs/rows", launches=0)
        [...
        >>> row = report.rows[-1]
        >>> row.status, row.measurement.score.metric
        ('measured', 'accuracy')
    """

    key: str
    candidate: Candidate
    status: Literal["measured", "failed", "stopped", "pending"]
    label: str
    family: str
    format: str = ""
    artifact: str = ""
    artifact_digest: str = ""
    same_as: str = ""
    measurement: Measurement | None = None
    failure: Failure | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    stopped: str = ""
    compiled: str = ""
    lost_workers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if _LOST in self.notes:  # older versions stored it there
            object.__setattr__(self, "lost_workers", (*self.lost_workers, *self.notes[_LOST]))
            object.__setattr__(self, "notes", {k: v for k, v in self.notes.items() if k != _LOST})
