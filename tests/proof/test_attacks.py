"""Attacks of the Adversarial Robustness Toolbox, beside ours on the same examples of the tutorial's model."""

from pathlib import Path

import numpy as np
import pytest

import deploykit as dk
from deploykit.measuring.attacks import QUERIES, Aim

ROOT = Path(__file__).parents[2] / "notebooks"
EXAMPLES, STRENGTH = 100, 0.05


@pytest.mark.proof("PGD-20 and Square find as much as ART's", against="adversarial-robustness-toolbox")
def test_accuracies_under_attack_are_those_of_art(packages, versions, tmp_path):
    art = packages("adversarial-robustness-toolbox", dependencies=False)
    versions(art=art.version("adversarial-robustness-toolbox"))
    model = dk.load(ROOT / "models" / "fashion_cnn.keras")
    data = dk.Dataset.from_npz(
        ROOT / "data" / "fashion-mnist.npz", preprocess=dk.Preprocess(scale=1 / 255, reshape=(28, 28, 1))
    )
    space = dk.Space([dk.Recipe(())], [dk.Target("onnxruntime")])
    report = dk.sweep(model, data, space, store=tmp_path / "store", launches=0, attacks=EXAMPLES, strength=STRENGTH)
    row = report.rows[0]
    assert row.candidate.target.runtime == "onnxruntime"
    aim = Aim.of(report.data, report.contract, EXAMPLES, STRENGTH, 0)
    np.savez(
        tmp_path / "aim.npz", examples=aim.examples, labels=aim.labels, low=aim.low, high=aim.high, epsilon=aim.epsilon
    )
    file = report.choice_for(row.key).save(tmp_path / "model.onnx")
    theirs = art("art_attacks.py", tmp_path / "aim.npz", ROOT / "models" / "fashion_cnn.keras", file, QUERIES)
    pgd, square = (row.measurement.scored(f"accuracy_under_{name}").value for name in ("pgd", "square"))
    assert pgd == pytest.approx(np.mean(theirs["pgd"]), abs=0.04)
    assert square == pytest.approx(np.mean(theirs["square"]), abs=0.08)
    print(f"PGD {pgd:.2f}, ART {np.mean(theirs['pgd']):.2f}; Square {square:.2f}, ART {np.mean(theirs['square']):.2f}")
