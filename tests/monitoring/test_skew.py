from typing import Any

import numpy as np
import pytest

from deploykit.core.errors import DeploykitError
from deploykit.monitoring.fitting import fit
from deploykit.monitoring.outliers import score_outliers
from deploykit.monitoring.profile import Profile
from deploykit.monitoring.skew import check_skew
from tests.monitoring import streams

RNG = np.random.default_rng(0)
#: Warm pictures: more red than blue, darker than half.
PICTURES = np.clip(RNG.normal([120, 90, 60], 40, (120, 16, 16, 3)), 0, 255).astype(np.uint8)


def _profile(x: Any) -> Profile:
    return fit({"x": x}, {"y": RNG.random((len(x), 2))}, "y", "values", model=streams.MODEL)


TABLE = np.stack([RNG.normal(50, 10, 200), RNG.integers(0, 3, 200)], 1)


@pytest.mark.parametrize(
    ("reference", "sent", "what"),
    [
        (PICTURES, PICTURES[:40], ()),
        (PICTURES, (PICTURES[:40] * 0.7).astype(np.uint8), ()),
        (PICTURES, PICTURES[:40] / 255, ("units",)),
        (PICTURES / 255, PICTURES[:40], ("units",)),
        (PICTURES, PICTURES[:40] / 127.5 - 1, ("units",)),
        (PICTURES, PICTURES[:40].astype(np.uint16) * 257, ("units",)),
        (PICTURES, (PICTURES[:40] - PICTURES.mean()) / PICTURES.std(), ("units",)),
        (PICTURES, PICTURES[:40, :, :, ::-1], ("channel order",)),
        (PICTURES, PICTURES[:40].transpose(0, 3, 1, 2), ("channel order",)),
        (PICTURES, 255 - PICTURES[:40], ("inverted", "channel order")),
        (PICTURES, PICTURES[:40, :, :, 0], ("shape",)),
        (PICTURES, np.array(["a", "b"], object).reshape(2, 1, 1, 1), ("dtype",)),
        (TABLE, np.where(RNG.random((200, 2)) < 0.2, np.nan, TABLE), ("missing values",)),
        (TABLE, TABLE * 1000, ("units",)),
        (TABLE, TABLE + np.array([500, 0]), ("range",)),
        (TABLE, TABLE[:, :1], ("shape",)),
        (RNG.random((200, 3)), RNG.integers(0, 2, (50, 3)), ("dtype",)),
    ],
)
def test_what_is_wrong_with_what_clients_send_is_named(reference: Any, sent: Any, what: tuple[str, ...]) -> None:
    found = check_skew(_profile(reference), {"x": sent})
    assert tuple(s.what for s in found) == what, [str(s) for s in found]


def test_inputs_that_are_not_sent_and_empty_samples() -> None:
    profile = _profile(TABLE)
    assert [s.what for s in check_skew(profile, {})] == ["missing input"]
    with pytest.raises(DeploykitError, match="no example"):
        check_skew(profile, {"x": TABLE[:0]})


def test_p_values_of_requests_like_the_reference_are_no_smaller_than_they_should_be() -> None:
    """Averaged over references drawn from the same images, as the guarantee is."""
    images, shares = streams.digits().images, []
    for seed in range(6):
        found = streams.observed(images, streams.profile(seed, 1200)).rarity
        shares.append([(found <= level).mean() for level in (0.05, 0.2, 0.5)])
    mean, spread = np.mean(shares, axis=0), np.std(shares, axis=0) / np.sqrt(6)
    assert (mean <= np.array([0.05, 0.2, 0.5]) + 3 * spread).all()
    assert mean[2] > 0.35  # and not useless


def test_what_the_reference_never_saw_is_flagged_and_said() -> None:
    images = streams.digits().images[:3].copy()
    images[1] = 400
    images[2, 0, 0] = np.nan
    usual, bright, broken = score_outliers(streams.profile(), *streams.answered(images))
    assert not usual.unseen
    assert bright.unseen
    assert bright.p_value == pytest.approx(1 / 901)
    assert bright.because[0].startswith("image: mean is 400, in the reference from")
    assert broken.unseen
