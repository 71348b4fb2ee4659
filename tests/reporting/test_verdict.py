"""The one sentence that people read first: each kind, with its numbers."""

from dataclasses import replace

import pytest

from deploykit.choosing.goals import Goal
from deploykit.core.candidate import Candidate, Recipe, Step, Target
from deploykit.core.result import Failure, Finding, Interval, Latency, Measurement, Result, Score
from deploykit.reporting.explain import sentences
from deploykit.reporting.verdict import compare, ratio_of, samples_needed, verdict

GOAL = Goal("latency", 0.01)


def row(speed=(2.79, 2.75, 2.83), claim="faster", change=(-0.0031, -0.0055, -0.0007), flags=(), status="measured",
        findings=(), technique="quantize_static", same=None, timed=True):  # fmt: skip
    drop = Interval(-change[0], -change[2], -change[1])
    score = Score("accuracy", 0.91, Interval(*change), drop, 4000)
    latency = Latency(
        Interval(0.094, 0.093, 0.095), 0.1, 0.11, Interval(*speed), same and Interval(*same), 0.1, 20, 4000, 0.04,
        flags, claim,
    )  # fmt: skip
    measurement = Measurement((score,), latency if timed else None, 449_000, 371_000, findings=findings)
    candidate = Candidate(Recipe((Step(technique),)), Target("onnxruntime"))
    return Result(candidate.key, candidate, status, "int8 static", "quantize", measurement=measurement)


def said(given, **options):
    return verdict(given, GOAL, relative=False, **options)


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        (row(), "faster",
         ["Faster, and within your limit (95 % confidence).", "2.79× [2.75, 2.83]", "−0.31 ± 0.24 pp"]),
        (row(change=(-0.0086, -0.0116, -0.0056)), "maybe inside",
         ["may lose more than 1.0 pp", "About 19,000 examples would settle it."]),
        (row(change=(-0.03, -0.035, -0.025)), "outside", ["loses more than 1.0 pp"]),
        (row((1.0, 0.98, 1.01), "same"), "not faster", ["Not faster: 1.00× [0.98, 1.01].", "371 kB compressed"]),
        (row((1.0, 0.98, 1.01), "same", technique="prune_magnitude"), "not faster",
         ["Smaller when compressed: 371 kB."]),
        (row((0.37, 0.36, 0.38), "slower", findings=(Finding("x", "Why it is.", remedy="try static."),)), "slower",
         ["Slower: 0.37× [0.36, 0.38].", "Why it is. What helps: try static."]),
        (row((1.02, 0.9, 1.1), "unclear", flags=("noisy",)), "noisy", ["up to 4 %", "No claim is made."]),
        (row((1.0, 0.89, 1.11), "unclear", flags=("inconclusive",)), "inconclusive", ["still ±11 % after 20 launches"]),
        (row(timed=False), "not timed", ["−0.31 ± 0.24 pp"]),
        (row(status="pending"), "screened",
         ["So far 2.79× [2.75, 2.83], after 20 launches; still measuring.", "−0.31"]),
        (row((0.37, 0.36, 0.38), "slower", status="pending"), "screened", ["So far 0.37×"]),
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
    given = row((0.37, 0.36, 0.38), "slower", findings=(Finding("x", "Why it is."),), same=(0.37, 0.36, 0.38))
    assert str(said(given, causes=False)) == "Slower: 0.37× [0.36, 0.38]."


@pytest.mark.parametrize("claim", ["faster", "same", "unclear"])
def test_an_explanation_says_nothing_twice(claim):
    given = row(claim=claim, flags=("noisy", "inconclusive"))
    text = "\n".join(sentences(given, None, said(given), relative=False))
    doubts = "by how much is not" if claim == "faster" else "Inconclusive"
    assert (text.count("Noisy"), text.count(doubts)) == (1, 1)


def test_a_missed_target_names_the_closest():
    found = said(row(change=(-0.0086, -0.0116, -0.0056)), best=True)
    assert found.kind == "target missed"
    assert str(found).startswith(
        "No candidate is confirmed to stay within 1.0 pp. Closest: int8 static, −0.86 ± 0.30 pp."
    )


HOME = Target("tensorflow")


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        (row((16.8, 16.2, 17.4), same=(3.5, 3.4, 3.6)), "faster",
         ["Faster, and within your limit (95 % confidence).",
          "16.8× in total: 4.80× from TensorFlow → ONNX Runtime, 3.50× from int8 static."]),
        (row((5.1, 5.0, 5.2), same=(1.0, 0.99, 1.01), technique="prune_magnitude"), "not faster",
         ["Not faster than the original model on ONNX Runtime: 1.00× [0.99, 1.01].",
          "5.10× in total: 5.10× from TensorFlow → ONNX Runtime, 1.00× from int8 static.", "Smaller when compressed"]),
        (row((5.1, 5.0, 5.2), same=(0.5, 0.49, 0.51)), "slower",
         ["Slower than the original model on ONNX Runtime: 0.50× [0.49, 0.51].", "5.10× in total: 10.2× from"]),
        (row((1.5, 1.4, 1.6), same=(1.0, 0.93, 1.08)), "inconclusive",
         ["Inconclusive whether it is faster than the original model on ONNX Runtime: 1.00× [0.93, 1.08]."]),
        (row((0.6, 0.59, 0.61), "slower", same=(2.0, 1.9, 2.1)), "slower",
         ["Slower in total: 0.60× [0.59, 0.61].", "0.60× in total: 0.30× from TensorFlow → ONNX Runtime, 2.00× from",
          "The runtime is slower for this model, not the technique."]),
        (row((4.8, 4.7, 4.9)), "faster", ["in total, from TensorFlow → ONNX Runtime and int8 static together"]),
    ],
)  # fmt: skip
def test_the_verdict_is_about_the_technique_not_about_the_move_to_another_runtime(given, kind, words):
    found = said(given, home=HOME)
    assert found.kind == kind
    for word in words:
        assert word in str(found), str(found)


def test_what_was_said_of_the_technique_when_it_was_timed_counts():
    given = row((5.1, 5.0, 5.2), same=(1.05, 1.03, 1.07))
    latency = replace(given.measurement.latency, technique_claim="unclear")  # after the correction for many candidates
    corrected = replace(given, measurement=replace(given.measurement, latency=latency))
    assert said(corrected, home=HOME).kind == "inconclusive"


def test_the_same_model_on_another_runtime_is_faster_by_its_runtime():
    given = replace(row((4.8, 4.7, 4.9)), candidate=Candidate(Recipe(), Target("litert")), label="original")
    text = str(said(given, home=HOME))
    assert text.startswith("Faster by its runtime, and within your limit (95 % confidence).")
    assert "4.80× [4.70, 4.90] from TensorFlow → LiteRT" in text


def test_rows_without_a_measurement():
    candidate = row().candidate
    failed = Result("k", candidate, "failed", "x", "quantize", failure=Failure("build", "E", "it broke.", "fix it."))
    assert str(said(failed)) == "Failed. It broke. Fix it."
    assert said(Result("k", candidate, "pending", "x", "quantize")).kind == "pending"
    assert said(row(), baseline=True).kind == "baseline"


def test_examples_that_would_settle_it():
    assert samples_needed(Interval(0.005, 0.0, 0.01), 1000, 0.01) is None  # it is settled already
    assert samples_needed(Interval(0.005, -0.005, 0.015), 1000, 0.01) == 4000
    assert samples_needed(Interval(0.02, 0.01, 0.03), 1000, 0.01) is None


def test_two_candidates_in_words():
    def said(left, right):
        return compare(left, right, GOAL, relative=False)

    a, b = row(), row((3.69, 3.62, 3.76), change=(-0.0086, -0.0116, -0.0056))
    text = said(a, b)
    assert text.startswith("B is 1.32× [1.29, 1.35] as fast as A. B may lose more than 1.0 pp (−0.86 ± 0.30 pp).")
    assert "No difference in speed between A and B is confirmed" in said(a, a)
    assert "Both are within 1.0 pp (95 % confidence)" in said(a, a)
    assert "not final: still measuring B." in said(a, row(status="pending"))
    ratio = ratio_of(Interval(4, 2, 8), Interval(2, 2, 2))
    assert (ratio.low, ratio.value, ratio.high) == (pytest.approx(1), 2, pytest.approx(4))
