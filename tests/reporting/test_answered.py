"""The answer to one example, as the Workbench shows it."""

import numpy as np

import deploykit as dk
from deploykit.core.contract import Declared
from deploykit.reporting.evidence.answered import answered
from deploykit.testing import bert, decoder, sequences


def test_text_is_shown_as_it_was_written(tmp_path):
    weights = decoder.random_weights(len(bert.vocabulary()), width=32, heads=4)
    model = dk.load(decoder.write_folder(weights, tmp_path))
    contract = dk.Dataset.from_text(["john lives"] * 40).check(model, Declared(generate=3)).checked
    assert answered(np.array(["in paris.", "in london."]), contract).prediction == "in paris."


def test_scores_of_letters_are_shown_as_what_they_spell(tmp_path):
    made = sequences.speech(tmp_path)
    contract = made.data.check(dk.load(made.model)).checked
    scores = np.zeros((1, 4, 10), np.float32)
    scores[0, range(4), [6, 6, 7, 0]] = 1  # n n o blank
    assert answered(scores, contract).prediction == "no"
