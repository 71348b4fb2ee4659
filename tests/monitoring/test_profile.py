import json
import struct
import zlib
from functools import cache

import numpy as np
import pytest
from scipy import stats

from deploykit.core.errors import DeploykitError
from deploykit.monitoring import stable
from deploykit.monitoring.fitting import fit
from deploykit.monitoring.packing import pack
from deploykit.monitoring.profile import MOST_BYTES, Profile
from tests.monitoring import streams

RNG = np.random.default_rng(0)


def test_numbers_from_a_seed_are_those_that_splitmix64_was_published_with() -> None:
    # https://rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64, seed 1234567
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert stable.uniform(1234567, 4).tolist() == [(n >> 11) * 2.0**-53 for n in published]
    values = [-5, 0, 3, 1 << 40]
    assert stable.spread_all(np.array(values), 1000).tolist() == [stable.spread(v, 1000) for v in values]


def fitted(count, seed=0):
    """Which examples fit the map: one in four, drawn by the profile's seed."""
    return np.argsort(stable.uniform(seed ^ 0xF1, count), kind="stable") % 4 == 0


def test_features_are_what_scipy_says_of_the_same_requests() -> None:
    profile, images = streams.profile(), streams.digits().images[:50]
    inputs, outputs, embedding = streams.answered(images)
    found = dict(
        zip([f.name for f in profile.features], profile.observe(inputs, outputs, embedding).features.T, strict=True)
    )
    chosen = np.random.default_rng(0).integers(0, len(streams.digits().images), 1200)[fitted(1200)]
    reference = streams.digits().images[chosen].reshape(300, -1)
    flat, chances = images.reshape(50, -1), outputs["class"]
    entropy = stats.entropy(streams.answered(streams.digits().images[chosen])[1]["class"], axis=1)
    for name, known, now in (
        ("image: mean", reference.mean(1), flat.mean(1)),
        ("image: contrast", reference.std(1), flat.std(1)),
        ("entropy", entropy, stats.entropy(chances, axis=1)),
    ):
        ranks = np.array([stats.percentileofscore(known, value) for value in now]) / 100
        assert np.abs(found[name] - ranks).max() < 1 / 33 + 0.01, name
        assert np.allclose(found[f"spread of {name}"], 4 * (found[name] - 0.5) ** 2, atol=1e-6)
    for number in range(10):
        assert (found[f"class {number} predicted"] == (chances.argmax(1) == number)).all()


def test_directions_of_the_embedding_are_a_gaussian_kernel() -> None:
    """Rahimi and Recht: 2 cos·cos averaged over directions is the kernel."""
    profile = streams.profile()
    inputs, outputs, embedding = streams.answered(streams.digits().images[:200])
    sketch = profile.head.sketch
    rff = 2 * profile.observe(inputs, outputs, embedding).features[:, -sketch.features :] - 1
    scaled = embedding / (sketch.scale * 2.0 ** ((profile.arrays["scales"].astype(float) - 128) / 8))
    square = ((scaled[:, None] - scaled[None]) ** 2).sum(2)
    kernel = np.exp(-square / (2 * sketch.bandwidth**2))
    assert np.corrcoef((2 * rff @ rff.T / sketch.features).ravel(), kernel.ravel())[0, 1] > 0.75


def test_means_and_bands_are_of_the_part_that_has_not_fitted_the_map() -> None:
    profile = streams.profile()
    chosen = np.random.default_rng(0).integers(0, len(streams.digits().images), 1200)
    held = streams.observed(streams.digits().images[chosen]).features[~fitted(1200)].astype(float)
    assert np.abs(profile.means - held.mean(0)).max() < 2e-5
    deviation = np.maximum(held.std(0), 900**-0.5)
    assert np.allclose(profile.band, 3.5 * deviation / 30 + 0.02 * np.maximum(2 * deviation, 0.05), atol=1e-5)


@cache
def _many_classes() -> Profile:
    chances = RNG.dirichlet(np.full(1000, 0.1), 400).astype(np.float32)
    inputs, labels = {"x": RNG.random((400, 4, 4, 3))}, RNG.integers(0, 1000, 400)
    embedding = RNG.normal(0, 1, (400, 4096)).astype(np.float32)
    outputs = {"y": chances}
    return fit(inputs, outputs, "y", "probabilities", model="a" * 64, labels=labels, embedding=embedding, tap="e")


@cache
def _table(columns: int) -> Profile:
    x = np.where(RNG.random((400, columns)) < 0.05, np.nan, RNG.integers(0, 6, (400, columns)))
    return fit({"x": x}, {"y": RNG.normal(0, 1, (400, 1))}, "y", "values", model="a" * 64)


def _many_inputs() -> Profile:
    inputs = {f"a column with the number {i}": RNG.random((400, 1)) for i in range(200)}
    return fit(inputs, {"y": RNG.normal(0, 1, (400, 1))}, "y", "logit", model="a" * 64)


def _texts() -> Profile:
    words = [f"word{i}" for i in range(3000)]
    texts = np.array([" ".join(RNG.choice(words, 30)) for _ in range(200)], object)
    tokens = RNG.integers(0, 30000, (200, 64))
    return fit({"text": texts, "ids": tokens}, {"y": RNG.random((200, 5, 9))}, "y", "scores", model="a" * 64)


@pytest.mark.parametrize(
    "make",
    [_many_classes, lambda: _table(200), lambda: _table(500), _many_inputs, _texts, streams.profile],
    ids=["1000 classes, 4096 wide", "200 columns", "500 columns", "200 inputs", "text", "digits"],
)
def test_any_profile_has_at_most_12_kib_and_reads_back_the_same(make) -> None:  # type: ignore[no-untyped-def]
    profile = make()
    data = profile.to_bytes()
    assert len(data) <= MOST_BYTES == 12 * 1024
    again = Profile.from_bytes(data, profile.head.model)
    assert again.head == profile.head
    assert again.to_bytes() == data
    assert len(again.features) == len(again.means) == len({(f.name, f.about) for f in again.features})
    assert all(profile.head.notes) or "evenly spaced" in "".join(profile.head.notes)


def test_what_is_left_out_is_said() -> None:
    assert "of 1000 classes" in "".join(_many_classes().head.notes)
    assert "1024 of 4096 numbers" in "".join(_many_classes().head.notes)
    assert "of 500 columns" in "".join(_table(500).head.notes)


def test_a_table_knows_missing_values_and_unseen_categories() -> None:
    profile = fit(
        {"x": np.stack([RNG.random(400), RNG.integers(1, 4, 400)], 1)},
        {"y": RNG.random((400, 1))}, "y", "values", model="a" * 64,
    )  # fmt: skip
    names = [f.name for f in profile.features]
    rows = np.array([[0.5, 1], [np.nan, 2], [0.5, 7], [0.5, np.nan]])
    found = profile.observe({"x": rows}, {"y": RNG.random((4, 1))}).features
    assert found[:, names.index("x: column 0 missing")].tolist() == [0, 1, 0, 0]
    assert found[:, names.index("x: column 1 missing")].tolist() == [0, 0, 0, 1]
    assert found[:, names.index("x: column 1 of an unseen category")].tolist() == [0, 0, 1, 0]
    assert not any("column 0 of an unseen" in name for name in names)


def test_texts_are_ranked_by_length_and_by_words_that_the_reference_has_not() -> None:
    texts = np.array([f"the cat sat on mat {'again ' * (i % 9)}" for i in range(200)], object)
    profile = fit({"t": texts}, {"y": RNG.random((200, 2))}, "y", "scores", model="a" * 64)
    names = [f.name for f in profile.features]
    now = np.array([b"the cat sat", "xylophone quartz jigsaw", "cat " * 100], object)
    found = profile.observe({"t": now}, {"y": RNG.random((3, 2))}).features
    assert found[:, names.index("t: unknown words")].tolist() == [0.5, 1, 0.5]
    assert found[2, names.index("t: length")] == 1


@pytest.mark.parametrize(
    "kind", ["scores", "probabilities", "logit", "probability", "several", "classes", "values", "embedding"]
)
def test_every_kind_of_output_gives_features_between_0_and_1(kind: str) -> None:
    shape = {"logit": (200, 1), "probability": (200,), "classes": (200,)}.get(kind, (200, 6))
    y = RNG.integers(0, 5, shape) if kind == "classes" else RNG.random(shape)
    profile = fit({"x": RNG.random((200, 9, 9))}, {"y": y}, "y", kind, model="a" * 64)  # type: ignore[arg-type]
    found = profile.observe({"x": np.full((3, 9, 9), np.nan)}, {"y": y[:3]}).features
    assert found.shape == (3, len(profile.features))
    assert (found >= 0).all()
    assert (found <= 1).all()


def test_a_profile_of_another_model_is_refused() -> None:
    data = streams.profile().to_bytes()
    with pytest.raises(DeploykitError, match="belongs to the model abababababab…, not to cdcdcdcdcdcd…"):
        Profile.from_bytes(data, "cd" * 32)


def test_damaged_and_hostile_bytes_get_one_clear_error() -> None:
    good = streams.profile().to_bytes()
    bad = [good[:-1], good[: len(good) // 2], good + b"x", b"", b"DKPR", bytes(20_000), b"{}" * 100]
    bad += [good[:i] + bytes([good[i] ^ 64]) + good[i + 1 :] for i in range(0, len(good), 97)]
    for data in bad:
        with pytest.raises(DeploykitError, match="Cannot read the profile"):
            Profile.from_bytes(data)


def _packed(head: object, arrays: bytes = b"") -> bytes:
    text = zlib.compress(json.dumps(head).encode())
    body = struct.pack("<4sI", b"DKPR", len(text)) + text + arrays
    return body + struct.pack("<I", zlib.crc32(body))


@pytest.mark.parametrize(
    "head",
    [
        [], {}, {"head": {}, "arrays": []}, {"head": {}, "arrays": [["a", "<f4", [1 << 30]]]},
        {"head": {}, "arrays": [["a", "|O", [1]]]}, {"head": {}, "arrays": [["a", "<f4", [-1]]]},
        {"head": {"x": "y" * 1_000_000}, "arrays": []}, {"head": {}, "arrays": [["a", "<f4", [1, 1, 1, 1, 1]]]},
    ],
)  # fmt: skip
def test_a_head_that_lies_is_refused_before_anything_is_made(head: object) -> None:
    with pytest.raises(DeploykitError, match="Cannot read the profile"):
        Profile.from_bytes(_packed(head))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "format 2"), ({"knots": 10**9}, "sizes make no sense"), ({"held_out": 0}, "sizes"),
        ({"inputs": []}, "no names"), ({"knots": 12}, "knots do not have the sizes"),
    ],
)  # fmt: skip
def test_a_head_that_does_not_fit_its_arrays_is_refused(change: dict[str, object], said: str) -> None:
    profile = streams.profile()
    with pytest.raises(DeploykitError, match=said):
        Profile.from_bytes(pack(b"DKPR", {**profile.head.to_json(), **change}, profile.arrays))


def test_numbers_that_are_not_finite_or_do_not_ascend_are_refused() -> None:
    profile = streams.profile()
    for name, values, said in (("center", np.nan, "not finite"), ("knots", None, "do not ascend")):
        array = profile.arrays[name] * np.float32(values) if values else profile.arrays[name][..., ::-1].copy()
        with pytest.raises(DeploykitError, match=said):
            Profile.from_bytes(pack(b"DKPR", profile.head.to_json(), {**profile.arrays, name: array}))


def test_requests_that_do_not_fit_are_named() -> None:
    profile, images = streams.profile(), streams.digits().images[:2]
    inputs, outputs, embedding = streams.answered(images)
    for arguments, said in (
        (({}, outputs, embedding), "Input 'image' is missing"),
        ((inputs, {}, embedding), "Output 'class' is missing"),
        ((inputs, {"class": outputs["class"][:, :9]}, embedding), "9 classes; the profile was made with 10"),
        ((inputs, outputs, embedding[:, :5]), "embedding has 5 numbers"),
        ((inputs, outputs, None), "embedding, which was not given"),
    ):
        with pytest.raises(DeploykitError, match=said):
            profile.observe(*arguments)
    with pytest.raises(DeploykitError, match="needs 40 examples, got 2"):
        fit(inputs, outputs, "class", "probabilities", model="a" * 64)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf, 3e38])
def test_numbers_that_are_none_never_get_into_what_is_kept(broken: float) -> None:
    """One request with them would otherwise make all sums that follow useless."""
    profile, images = streams.profile(), streams.digits().images[:3].copy()
    inputs, outputs, embedding = streams.answered(images)
    for array in (inputs["image"], outputs["class"], embedding):
        array[1] = broken
    found = profile.observe(inputs, outputs, embedding)
    assert np.isfinite(found.features).all()
    assert ((found.features >= 0) & (found.features <= 1)).all()
    assert np.isfinite(found.confidence).all()  # type: ignore[arg-type]
    assert found.rarity[1] == pytest.approx(1 / 901)


@pytest.mark.parametrize("part", ["x", "y", "labels"])
def test_a_reference_with_numbers_that_are_none_gives_a_profile_that_can_be_read(part: str) -> None:
    arrays = {
        "x": RNG.random((200, 6, 6)),
        "y": RNG.dirichlet(np.ones(3), 200),
        "labels": RNG.integers(0, 3, 200) * 1.0,
    }
    arrays[part][::7] = np.nan
    profile = fit(
        {"x": arrays["x"]}, {"y": arrays["y"]}, "y", "probabilities", model="a" * 64, labels=arrays["labels"]
    )  # fmt: skip
    assert Profile.from_bytes(profile.to_bytes()).head == profile.head
    assert profile.head.calibrated.examples == (200 if part == "x" else 171)


def test_examples_whose_classes_come_in_turn_are_a_fair_reference():
    rng = np.random.default_rng(7)
    labels = np.arange(4000) % 4
    scores = np.full((4000, 4), 0.05) + 0.8 * np.eye(4)[labels]
    inputs = {"x": (rng.random((4000, 6, 6)) + labels[:, None, None]).astype(np.float32)}
    profile = fit(inputs, {"y": scores}, "y", "probabilities", model="ab" * 32, labels=labels)
    shares = dict(zip([f.name for f in profile.features], profile.means, strict=True))
    for number in range(4):
        assert shares[f"class {number} predicted"] == pytest.approx(0.25, abs=0.02)
    rare = profile.observe(inputs, {"y": scores}).rarity
    assert np.mean(rare <= 0.05) == pytest.approx(0.05, abs=0.01)


def test_noise_white_frames_and_inverted_images_are_unlike_smooth_ones():
    rng = np.random.default_rng(8)
    coarse = rng.random((2000, 5, 5))
    smooth = (160 * np.kron(coarse, np.ones((1, 4, 4)))[:, 1:-1, 1:-1]).astype(np.uint8)
    smooth[:, :2], smooth[:, -2:] = 0, 0  # dark edges, as photographs of things have
    scores = rng.dirichlet(np.ones(3), 2000)
    profile = fit({"x": smooth}, {"y": scores}, "y", "probabilities", model="ab" * 32)
    odd = {
        "noise": rng.integers(0, 160, (200, 18, 18), np.uint8),
        "white": np.full((200, 18, 18), 255, np.uint8),
        "inverted": 255 - smooth[:200],
    }
    for name, images in odd.items():
        rarity = profile.observe({"x": images}, {"y": scores[:200]}).rarity
        assert np.median(rarity) <= 1 / 1000, name
