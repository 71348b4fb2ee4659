"""Scores of outputs on disk."""

from types import SimpleNamespace

import numpy as np
import pytest

from deploykit.core.contract import Contract, OutputMeaning
from deploykit.sweeping.scoring import Judge

pytestmark = [pytest.mark.alone, pytest.mark.long]


def test_all_flips_of_one_column_are_counted_and_the_first_are_listed(tmp_path):
    rng = np.random.default_rng(0)
    before = rng.random((2000, 1)).astype(np.float32)
    after = before.copy()
    after[:1200] = 1 - after[:1200]
    for name, outputs in (("given", before), ("candidate", after)):
        np.save(tmp_path / f"{name}-evaluation.npy", outputs)
    labels = rng.integers(0, 2, 2000)
    workshop = SimpleNamespace(
        outputs_path=lambda key, split: tmp_path / f"{key}-{split}.npy",
        data=SimpleNamespace(
            labels=lambda _split="evaluation": labels, splits={"evaluation": SimpleNamespace(groups=None)}
        ),
        contract=Contract((), (OutputMeaning("y", "probability", "scored", "float32"),)),
    )
    scored = Judge(workshop, "given", "auto").judge("candidate", {})
    assert scored.flips == tuple(range(1000))
    assert scored.flips_count == 1200
