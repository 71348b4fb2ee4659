"""The one sentence that people read first: each kind, with its numbers."""

from types import SimpleNamespace

import pytest

from deploykit.choosing.goals import Goal
from deploykit.core.candidate import Candidate, Recipe, Step, Target
from deploykit.core.result import Failure, Finding, Interval, Latency, Measurement, Result, Score
from deploykit.reporting.explain import sentences
from deploykit.reporting.verdict import compare, ratio_of, samples_needed, verdict

GOAL = Goal("latency", 0.01)


def row(speed=(2.79, 2.75, 2.83), claim="faster", change=(-0.0031, -0.0055, -0.0007), flags=(), status="measured",
        findings=(), family="quantize", same=None, timed=True):  # fmt: skip
    drop = Interval(-change[0], -change[2], -change[1])
    score = Score("accuracy", 0.91, Interval(*change), drop, 4000)
    latency = Latency(
        Interval(0.094, 0.093, 0.095), 0.1, 0.11, Interval(*speed), same and Interval(*same), 0.1, 20, 4000, 0.04,
        flags, claim,
    )  # fmt: skip
    measurement = Measurement((score,), latency if timed else None, 449_000, 371_000, findings=findings)
    candidate = Candidate(Recipe((Step("quantize_static"),)), Target("onnxruntime"))
    return Result(candidate.key, candidate, status, "int8 static", family, measurement=measurement)


def said(given, **options):
    return verdict(given, GOAL, relative=False, **options)


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        (row(), "faster", ["Faster, and surely inside your limit.", "×2.79 [2.75, 2.83]", "−0.31 ± 0.24 pp"]),
        (row(change=(-0.0086, -0.0116, -0.0056)), "maybe inside",
         ["may lose more than 1.0 pp", "about 19,000 samples"]),
        (row(change=(-0.03, -0.035, -0.025)), "outside", ["loses more than 1.0 pp"]),
        (row((1.0, 0.98, 1.01), "same"), "not faster", ["Not faster: ×1.00 [0.98, 1.01].", "371 kB compressed"]),
        (row((1.0, 0.98, 1.01), "same", family="prune"), "not faster", ["Smaller when compressed: 371 kB."]),
        (row((0.37, 0.36, 0.38), "slower", findings=(Finding("x", "Why it is.", remedy="try static."),)), "slower",
         ["Slower: ×0.37 [0.36, 0.38].", "Why it is. What helps: try static."]),
        (row((1.02, 0.9, 1.1), "unclear", flags=("noisy",)), "noisy", ["up to 4 %", "No claim is made."]),
        (row((1.0, 0.89, 1.11), "unclear", flags=("inconclusive",)), "inconclusive", ["still ±11 % after 20 launches"]),
        (row(timed=False), "not timed", ["−0.31 ± 0.24 pp"]),
        (row(status="pending"), "screened", ["So far ×2.79 [2.75, 2.83], after 20 launches; not final.", "−0.31"]),
        (row((0.37, 0.36, 0.38), "slower", status="pending"), "screened", ["So far ×0.37"]),
        (row(status="pending", timed=False), "pending", ["Not timed yet.", "−0.31 ± 0.24 pp"]),
    ],
)  # fmt: skip
def test_each_kind_has_its_words(given, kind, words):
    found = said(given)
    assert found.kind == kind
    for word in words:
        assert word in str(found), str(found)


def test_limits_keep_their_digits():
    found = verdict(row(change=(-0.002, -0.003, -0.001)), Goal("latency", 0.0025), relative=True)
    assert found.headline == "Faster, but may lose more than 0.25 %."


def test_causes_are_left_out_where_they_stand_below():
    given = row((0.37, 0.36, 0.38), "slower", findings=(Finding("x", "Why it is."),), same=(1.0, 0.9, 1.1))
    assert str(said(given, causes=False)) == "Slower: ×0.37 [0.36, 0.38]."


@pytest.mark.parametrize("claim", ["faster", "same", "unclear"])
def test_an_explanation_says_nothing_twice(claim):
    given = row(claim=claim, flags=("noisy", "inconclusive"))
    text = "\n".join(sentences(given, None, said(given), relative=False))
    doubts = "by how much is not" if claim == "faster" else "Inconclusive"
    assert (text.count("Noisy"), text.count(doubts)) == (1, 1)


def test_a_missed_target_names_the_closest():
    found = said(row(change=(-0.0086, -0.0116, -0.0056)), best=True)
    assert found.kind == "target missed"
    assert str(found).startswith("Nothing surely stays within 1.0 pp. Closest: int8 static, −0.86 ± 0.30 pp.")


def test_what_the_runtime_has_won_is_not_the_technique_s():
    assert "That is the runtime: against float32 on the same one it is ×0.98" in str(said(row(same=(0.98, 0.96, 1.01))))
    assert "runtime" not in str(said(row(same=(1.4, 1.3, 1.5))))


def test_rows_without_a_measurement():
    candidate = row().candidate
    failed = Result("k", candidate, "failed", "x", "quantize", failure=Failure("build", "E", "it broke.", "mend it."))
    assert str(said(failed)) == "Failed. It broke. mend it."
    assert said(Result("k", candidate, "pending", "x", "quantize")).kind == "pending"
    assert said(row(), baseline=True).kind == "baseline"


def test_samples_that_would_tell():
    assert samples_needed(Interval(0.005, 0.0, 0.01), 1000, 0.01) is None  # it is told already
    assert samples_needed(Interval(0.005, -0.005, 0.015), 1000, 0.01) == 4000
    assert samples_needed(Interval(0.02, 0.01, 0.03), 1000, 0.01) is None


def test_two_candidates_in_words():
    report = SimpleNamespace(relative=False)

    def choice(given):
        return SimpleNamespace(result=given, measurement=given.measurement, goal=GOAL, report=report)

    a, b = choice(row()), choice(row((3.69, 3.62, 3.76), change=(-0.0086, -0.0116, -0.0056)))
    text = compare(a, b)
    assert text.startswith("B is ×1.32 [1.29, 1.35] as fast as A. B may lose more than 1.0 pp (−0.86 ± 0.30 pp).")
    assert "cannot be told apart in speed" in compare(a, a)
    assert "Both are surely inside 1.0 pp" in compare(a, a)
    assert "not final: B is under way" in compare(a, choice(row(status="pending")))
    ratio = ratio_of(Interval(4, 2, 8), Interval(2, 2, 2))
    assert (ratio.low, ratio.value, ratio.high) == (pytest.approx(1), 2, pytest.approx(4))
