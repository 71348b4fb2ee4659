"""Choosing by interval: ties, limits, and goals that cannot be met."""

import random
from dataclasses import replace

import pytest

from deploykit.choosing.goals import Goal, decide
from deploykit.choosing.pareto import beaten_by, beats, competing, devices_of, front, tied
from deploykit.core.candidate import Candidate, Recipe, Step, Target
from deploykit.core.errors import SettingError
from deploykit.core.result import Failure, Interval, Latency, Measurement, Result, Score
from deploykit.reporting.explain import sentences
from deploykit.reporting.rows import apart, elsewhere, records
from deploykit.reporting.verdict import verdict
from deploykit.reporting.views.tradeoff import standings


def row(name, speedup, drop, *, size=1000, width=0.02, doubt=0.002, status="measured"):
    candidate = Candidate(Recipe((Step(name),)), Target("litert"))
    score = Score(
        "accuracy",
        0.9 - drop,
        Interval(-drop, -drop - doubt, -drop + doubt),
        Interval(drop, drop - doubt, drop + doubt),
        1000,
    )
    p50 = Interval(1 / speedup, 0.9 / speedup, 1.1 / speedup)
    ratio = Interval(speedup, speedup * (1 - width), speedup * (1 + width))
    latency = Latency(p50, 1, 2, ratio, None, 1.0, 10, 1000, 0.01)
    failure = Failure("build", "CandidateCrash", "it died", "try again") if status == "failed" else None
    measurement = Measurement((score,), latency, size, size // 2) if status == "measured" else None
    return Result(name, candidate, status, name, "quantize", "tflite", measurement=measurement, failure=failure)


BASE = row("base", 1.0, 0.0, size=2000, doubt=0.0)
SAFE = row("safe", 2.0, 0.001)
TEMPTING = row("tempting", 3.0, 0.009)
BAD = row("bad", 4.0, 0.2)
ROWS = [BASE, SAFE, TEMPTING, BAD]


def test_the_far_end_of_the_interval_must_satisfy_the_limit():
    decision = decide(ROWS, Goal(max_drop=0.01))
    assert decision.winner == SAFE
    assert decision.met
    assert "2 cheaper ones are not confirmed to be within the limit" in decision.reason


def test_a_wider_limit_takes_the_faster_one():
    assert decide(ROWS, Goal(max_drop=0.02)).winner == TEMPTING
    assert decide(ROWS, Goal(max_drop=0.5)).winner == BAD


def test_an_impossible_goal_gives_the_closest_and_the_reason():
    decision = decide([SAFE, BAD], Goal(max_drop=0.0005))
    assert decision.winner == SAFE
    assert not decision.met
    assert "No candidate is confirmed to stay within 0.05 pp" in decision.reason
    assert "0.10 pp" in decision.reason


def test_the_only_candidate_inside_is_called_so():
    assert (
        "latency of the only candidate confirmed to lose at most 0.5 pp"
        in decide([SAFE, BAD], Goal(max_drop=0.005)).reason
    )


def test_nothing_to_choose_says_what_there_is():
    untimed = [replace(r, measurement=replace(r.measurement, latency=None)) for r in (SAFE, BAD)]
    assert decide(untimed, Goal()).reason.startswith("No latency was measured; you can minimize size, ")
    assert decide(untimed, Goal(minimize="size")).winner == untimed[0]
    cut_off = [replace(r, status="pending") for r in untimed]
    assert "2 of 2 are evaluated but not fully timed" in decide(cut_off, Goal(minimize="size")).reason


def test_of_ties_the_smallest_file_wins():
    small = row("small", 1.99, 0.001, size=500)
    decision = decide([SAFE, small, BASE], Goal())
    assert decision.winner == small
    assert decision.ties == (SAFE,)
    assert "tied with 1 other" in decision.reason


def test_failed_rows_are_never_chosen_and_their_cause_is_told():
    decision = decide([row("dead", 1, 0, status="failed")], Goal())
    assert decision.winner is None
    assert "it died" in decision.reason


def test_a_layout_restricts_the_choice():
    decision = decide(ROWS, Goal(), lambda r: "" if r.key == "base" else "does not fit")
    assert decision.winner == BASE
    nothing = decide(ROWS, Goal(), lambda _row: "does not fit")
    assert nothing.winner is None
    assert nothing.reason == "does not fit"


def test_other_costs():
    assert decide([SAFE, row("tiny", 0.5, 0.0, size=10), BASE], Goal(minimize="size")).winner.key == "tiny"
    with pytest.raises(SettingError, match="known: compressed_size, cost, cpu, energy, latency, load, memory, size"):
        decide(ROWS, Goal(minimize="beauty"))


def test_front_holds_what_cannot_be_told_apart():
    twin = row("twin", 1.98, 0.0015)
    slower = row("slower", 1.5, 0.004)
    assert [r.key for r in front([*ROWS, twin, slower])] == ["bad", "tempting", "safe", "twin", "base"]
    assert beats(SAFE, slower)
    assert not beats(SAFE, twin)
    assert tied([twin, slower], SAFE) == [twin]


def _on(row, cpu, cores=2):
    facts = {"cpu": cpu, "cores": cores, "features": ["avx2"], "machine": "x86_64", "system": "Linux", "load": [0.1]}
    return replace(row, measurement=replace(row.measurement, environment=facts))


def test_latencies_of_other_hardware_are_no_rivals():
    base, safe, far = _on(BASE, "A"), _on(SAFE, "A"), _on(TEMPTING, "B", 64)
    assert beats(TEMPTING, row("slow", 1.5, 0.02))
    assert not beats(far, _on(row("slow", 1.5, 0.02), "A"))
    assert competing([base, safe, far], "base") == [base, safe]
    assert competing([base, safe, replace(far, status="pending", measurement=None)], "base")[2].key == "tempting"
    (said,) = elsewhere([base, safe, far], "base")
    assert "tempting on LiteRT" in said
    assert "B, 64 cores" in said
    assert elsewhere([base, safe], "base") == []
    flat = {r["key"]: r["on_front"] for r in records([base, safe, far], "base")}
    assert flat == {"base": True, "safe": True, "tempting": False}


def _by(device, row):
    return replace(row, candidate=replace(row.candidate, target=Target("onnxruntime", device)))


def test_each_device_has_a_front_of_its_own():
    rows = [BASE, SAFE, _by("cuda", row("quick", 9.0, 0.002)), _by("cuda", row("quick_and_bad", 4.0, 0.02))]
    assert [r.key for r in front(rows)] == ["quick", "safe", "base"]
    assert not beats(rows[2], SAFE)
    assert beats(rows[2], rows[3])
    assert devices_of([rows[2], *rows], "base") == ("cpu", "cuda")
    assert elsewhere(rows, "base") == []
    assert apart(rows, "base") == [
        "2 candidates on cuda: compared with each other only, see best(device='cuda') and pareto(device='cuda')."
    ]
    found = standings(rows, "base")
    assert {key: s.state for key, s in found.items()} == {
        "base": "front", "safe": "front", "quick": "front", "quick_and_bad": "beaten",
    }  # fmt: skip


def test_the_quick_search_for_rivals_finds_whom_all_pairs_find():
    rng = random.Random(5)
    rows = [
        row(str(n), rng.choice([1, 1.5, 2, 3]) * rng.uniform(0.9, 1.1), rng.uniform(0, 0.02), width=rng.uniform(0, 0.1))
        for n in range(80)
    ]
    hosts = ({}, {"cpu": "a", "cores": 1}, {"cpu": "b", "cores": 2})
    rows = [replace(r, measurement=replace(r.measurement, environment=hosts[rng.randrange(3)])) for r in rows]
    rows = [_by(rng.choice(("cpu", "cuda")), r) for r in rows]
    found = beaten_by(rows)
    for one in rows:
        rivals = [other for other in rows if beats(other, one)]
        assert (one.key in found) == bool(rivals)
        assert not rivals or beats(found[one.key], one)


def test_a_sure_claim_with_a_wide_interval_is_not_called_inconclusive():
    wide = replace(
        SAFE,
        measurement=replace(
            SAFE.measurement, latency=replace(SAFE.measurement.latency, claim="slower", flags=("inconclusive",))
        ),
    )
    said = verdict(wide, Goal(), relative=False)
    text = " ".join(sentences(wide, None, said, relative=False))
    assert "by how much is not settled" in text
    assert "Inconclusive" not in text
