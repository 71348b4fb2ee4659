import pytest

from deploykit.core.candidate import Candidate, Recipe, Step, Target
from deploykit.core.errors import CandidateError
from deploykit.core.result import Result
from deploykit.reporting.evidence import channels

NOTES = {
    "keras_to_onnx": {"proved": 1e-7},
    "prune_channels": {
        "channels": {"a/model/conv_1/convolution": [32, 16], "b/conv_1/convolution": [8, 8], "dense/MatMul": [96, 48]},
        "weights": [10, 5],
    },
}


def row(notes):
    candidate = Candidate(Recipe((Step("prune_channels"),)), Target("onnxruntime"))
    return Result("k", candidate, "measured", "channel pruning 50 %", "prune", notes=notes)


def test_layers_have_two_bars_each_under_a_short_name_of_their_own():
    found = channels.bars(row(NOTES))
    assert [(b["layer"], b["side"], b["channels"]) for b in found] == [
        ("conv_1/convolution", "original", 32), ("conv_1/convolution", "this candidate", 16),
        ("conv_1/convolution (2)", "original", 8), ("conv_1/convolution (2)", "this candidate", 8),
        ("dense/MatMul", "original", 96), ("dense/MatMul", "this candidate", 48),
    ]  # fmt: skip


def test_the_chart_says_what_it_shows():
    chart = channels.chart(row(NOTES))
    assert chart.to_dict()["description"] == "Channels of each layer: 136 in the original, 72 in this candidate."


def test_a_candidate_with_all_its_channels_has_no_chart():
    whole = row({"prune_magnitude": {"sparsity": 0.5}})
    assert channels.counts(whole) == {}
    with pytest.raises(CandidateError, match="No step of channel pruning 50 % has removed channels"):
        channels.chart(whole)
