"""Waveforms that are changed at random, beside NumPy."""

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.errors import UnsupportedModelError
from deploykit.data.dataset import Dataset
from deploykit.testing import work
from deploykit.testing.graphs import graph, node, value
from deploykit.training import waves
from deploykit.training.augment import Batches
from deploykit.training.schedule import Schedule

RNG = np.random.default_rng(0)
WAVES = RNG.normal(size=(40, 300)).astype(np.float32)
INDEX = np.array([3, 7, 8, 11, 20, 21])


def changed(array, augment, seed=0, calls=1, snr=20.0):
    """What batches give for some examples."""
    data = Dataset.from_arrays(array, x_test=array[:20])
    schedule = Schedule(INDEX, 6, 1, 1e-3, seed, augment=augment, noise_snr=snr)
    batches = Batches(data, schedule)
    return [batches.changed(INDEX).inputs["input"] for _ in range(calls)]


def moved(wave, by):
    """A waveform with zeros before it, or after it, by indexing one sample at a time."""
    return np.array([wave[i - by] if 0 <= i - by < len(wave) else 0 for i in range(len(wave))])


@pytest.mark.parametrize("form", ["samples", "channels_last", "channels_first"])
def test_moves_are_filled_with_zeros(form):
    by = np.array([5, -7, 0, 30, -30, 299])
    array, axis = WAVES[:6], 1
    if form == "channels_last":
        array = np.stack([array, 2 * array], axis=-1)
    elif form == "channels_first":
        array, axis = np.stack([array, 2 * array], axis=1), 2
    found = waves.shifted(array, by, axis)
    first = {"samples": found, "channels_last": found[..., 0], "channels_first": found[:, 0]}[form]
    assert (first == np.stack([moved(wave, move) for wave, move in zip(WAVES, by.tolist(), strict=False)])).all()
    assert found.shape == array.shape


def test_moves_and_gains_are_within_their_limits():
    rng = np.random.default_rng(1)
    by = waves.moves(rng, 4000, 300)
    assert (by.min(), by.max()) == (-30, 30)
    assert abs(by.mean()) < 1
    decibels = 20 * np.log10(waves.gains(rng, 4000))
    assert decibels.min() == pytest.approx(-6, abs=0.02)
    assert decibels.max() == pytest.approx(6, abs=0.02)
    assert abs(decibels.mean()) < 0.2


@pytest.mark.parametrize("snr", [-5.0, 0.0, 20.0])
def test_noise_has_the_power_that_is_asked_for(snr):
    array = np.concatenate(
        [WAVES[:5] * RNG.uniform(0.01, 3, (5, 1)).astype(np.float32), np.zeros((1, 300), np.float32)]
    )
    added = waves.noisy(array, 7 * RNG.standard_normal(array.shape, np.float32), snr) - array
    found = 10 * np.log10((array[:5] ** 2).mean(axis=1) / (added[:5] ** 2).mean(axis=1))
    np.testing.assert_allclose(found, snr, atol=1e-3)
    assert not added[5].any()


def test_all_changes_are_made_one_after_another():
    """Moved, louder and noisy as the stream of random numbers says, which is drawn again here."""
    (found,) = changed(WAVES, "shift+gain+noise", seed=5, snr=3.0)
    rng = np.random.default_rng([5, 1])
    by = rng.integers(-30, 31, 6)
    wanted = np.stack([moved(WAVES[i], move) for i, move in zip(INDEX, by.tolist(), strict=True)])
    wanted *= (10 ** (rng.uniform(-6, 6, 6) / 20))[:, None]
    noise = rng.standard_normal((6, 300), np.float32)
    size = np.sqrt((wanted**2).mean(axis=1) / (noise**2).mean(axis=1) / 10**0.3)
    np.testing.assert_allclose(found, wanted + size[:, None] * noise, atol=1e-5)
    assert found.dtype == np.float32


def test_a_seed_repeats_the_changes_and_each_call_makes_others():
    one, two, other = (changed(WAVES, "shift+gain+noise", seed, calls=2) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(one, two, strict=True))
    assert (one[0] != one[1]).any()
    assert (one[0] != other[0]).any()


def test_whole_numbers_stay_within_their_range():
    loud = np.full((40, 300), 30_000, np.int16)
    (found,) = changed(loud, "gain+noise", seed=3)
    factors = 10 ** (np.random.default_rng([3, 1]).uniform(-6, 6, 6) / 20)
    assert found.dtype == np.int16
    assert (found[factors > 1.5] == 32_767).all()  # not wrapped around
    assert found.min() > 10_000


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((None, 16000), 1), ((8, None), 1), ((None, 16000, 1), 1), ((None, 1, 16000), 2), ((None, None, 2), 1),
     ((None, 10), None), ((None, 28, 28, 1), None), ((None, 300, 80), None), ((None,), None), (None, None)],
)  # fmt: skip
def test_waveforms_are_recognized_by_their_shape(shape, axis):
    assert waves.time_axis(shape) == axis


def test_what_is_not_a_waveform_is_refused():
    with pytest.raises(UnsupportedModelError, match=r"takes float32 of shape \(20,\): leave out shift, gain and noise"):
        changed(WAVES[:, :20], "gain")
    with pytest.raises(UnsupportedModelError, match=r"takes float32 of shape \(300,\): leave out augment"):
        changed(WAVES, "flip")


def listener(tmp_path, size=300):
    rng = np.random.default_rng(0)
    return graph(
        tmp_path, [node("MatMul", ["x", "w"], ["s"]), node("Softmax", ["s"], ["y"], axis=-1)],
        [value("x", "float32", "N", size)], [value("y", "float32", "N", 3)],
        w=(0.1 * rng.normal(size=(size, 3))).astype(np.float32),
    )  # fmt: skip


def test_plans_leave_out_what_cannot_be_changed_or_has_no_effect(tmp_path):
    data = Dataset.from_arrays(np.tile(WAVES, (5, 1)), np.arange(200) % 3)
    steps = [
        dk.Step("finetune", {"augment": "flip"}), dk.Step("distill", {"augment": "crops"}),
        dk.Step("finetune", {"augment": "gain", "noise_snr": 3.0}),
        dk.Step("finetune", {"augment": "gain+noise", "noise_snr": 3.0}), dk.Step("distill", {"augment": "shift"}),
    ]  # fmt: skip
    space = dk.Space([dk.Recipe((step,)) for step in steps], [dk.Target("onnxruntime")])
    plan = dk.plan(dk.load(listener(tmp_path)), data, space)
    reasons = [left.reason for left in plan.left_out]
    assert sum("takes float32 (?, 300): leave out augment for this model" in reason for reason in reasons) == 2
    assert any("noise_snr has no effect with augment=gain" in reason for reason in reasons)
    assert len(reasons) == 3


@pytest.mark.long
def test_training_on_changed_waveforms(tmp_path):
    """A model answers as a teacher that is the same, whatever the waveforms, and learns from labels."""
    source, data = listener(tmp_path), Dataset.from_arrays(np.tile(WAVES, (5, 1)), np.arange(200) % 3)
    data.save(tmp_path / "data")
    few = {"epochs": 2, "batch_size": 16, "augment": "shift+gain+noise", "noise_snr": 0.0}
    notes = work.transformed(
        "distill", "onnx", source, tmp_path / "same", tmp_path / "data", teacher=source, learning_rate=1e-7, **few
    )
    assert notes["loss_by_epoch"][0] < 1e-5
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        work.transformed("finetune", "onnx", source, tmp_path / name, tmp_path / "data", seed=seed, **few)
    one, two, three = ((tmp_path / name).read_bytes() for name in ("one", "two", "three"))
    assert one == two != three
