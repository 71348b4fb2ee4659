"""Decisions of a trial: error rates by simulation, and the same verdict whatever the order."""

import numpy as np
import pytest

from deploykit.core.errors import SettingError
from deploykit.updating.evidence import TrialEvidence


def decided(evidence, shares, rng, most, every=20):
    """The verdict of a stream that is looked at again and again, and after how many outcomes."""
    kinds = list(shares)
    drawn = rng.multinomial(every, list(shares.values()), most // every).cumsum(axis=0)
    for step, counts in enumerate(drawn.tolist(), 1):
        verdict = evidence.with_counts(dict(zip(kinds, counts, strict=True))).verdict
        if verdict != "undecided":
            return verdict, step * every
    return "undecided", most


def test_the_error_rate_holds_however_often_it_is_looked_at():
    """At the limit itself, the worst case: 300 streams with 100 looks each; 1 % of either error is allowed."""
    rng = np.random.default_rng(0)
    for evidence, shares in (
        (TrialEvidence.agreement(), {"same": 0.98, "differs": 0.02}),
        (TrialEvidence.labeled(), {"both": 0.93, "worse": 0.04, "better": 0.03}),
    ):
        found = [decided(evidence, shares, rng, 2000)[0] for _ in range(300)]
        assert found.count("promote") <= 9  # P[Bin(300, 0.01) > 9] < 0.2 %
        assert found.count("reject") <= 9


def test_what_is_good_is_promoted_and_what_is_bad_rejected():
    rng = np.random.default_rng(1)
    good = [decided(TrialEvidence.agreement(), {"same": 0.995, "differs": 0.005}, rng, 4000) for _ in range(40)]
    bad = [decided(TrialEvidence.agreement(), {"same": 0.88, "differs": 0.12}, rng, 4000) for _ in range(40)]
    assert {verdict for verdict, _ in good} == {"promote"}
    assert {verdict for verdict, _ in bad} == {"reject"}
    assert np.median([count for _, count in good]) < 2500
    assert np.median([count for _, count in bad]) < 150


def test_the_evidence_is_the_mixture_of_bets_itself():
    """Against the wealth of a gambler who plays outcome by outcome."""
    outcomes = np.random.default_rng(2).permutation([1.0] * 7 + [0.0] * 93)
    evidence = TrialEvidence.agreement(limit=0.05).with_counts({"same": 93, "differs": 7})
    small, large = (0.5, 0.25, 0.12, 0.06, 0.03, 0.015), (0.95, 0.75, 0.5, 0.25, 0.1)
    above = np.mean([np.prod(1 + stake / 0.05 * (outcomes - 0.05)) for stake in small])
    below = np.mean([np.prod(1 + stake / 0.95 * (0.05 - outcomes)) for stake in large])
    assert np.exp(evidence.log_e_above) == pytest.approx(above)
    assert np.exp(evidence.log_e_below) == pytest.approx(below)


def test_counts_add_up_over_workers_and_survive_json():
    evidence = TrialEvidence.agreement()
    whole = evidence.with_counts({"same": 300, "agrees": 7, "differs": 3, "failed": 1, "dropped": 50})
    assert whole.count == 311
    assert whole.mean == pytest.approx(4 / 311)
    assert TrialEvidence.from_json(whole.to_json()) == whole
    assert "limit 2 %: undecided" in str(whole)


def test_a_limit_that_nothing_can_reach_is_refused():
    for limit in (0.0, 1.0, -0.1):
        with pytest.raises(SettingError, match="must lie between"):
            TrialEvidence.agreement(limit=limit)
