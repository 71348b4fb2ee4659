import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploykit.core.candidate import Candidate, Recipe, Step, Target
from deploykit.core.errors import SettingError
from deploykit.core.serial import dump, parse

GOLDEN = Path(__file__).parent / "golden"
PRUNED_INT8 = Candidate(
    Recipe((Step("prune_magnitude", {"sparsity": 0.8, "epochs": 2}), Step("quantize_static", {"per_channel": True}))),
    Target("onnxruntime", threads=2),
)

words = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=20)
values = st.one_of(
    st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), st.text(), st.none()
)
steps = st.builds(Step, words, st.dictionaries(words, values, max_size=4))
recipes = st.builds(Recipe, st.lists(steps, max_size=4).map(tuple))
targets = st.builds(Target, words, words, st.integers(1, 64), st.integers(1, 512))


@given(st.builds(Candidate, recipes, targets))
def test_candidates_survive_json_text(candidate):
    again = Candidate.from_json(parse(dump(candidate)))
    assert again == candidate
    assert again.key == candidate.key


@given(recipes)
def test_parameters_keep_their_types(recipe):
    again = Recipe.from_json(parse(dump(recipe)))
    for before, after in zip(recipe.steps, again.steps, strict=True):
        assert {k: type(v) for k, v in before.parameters.items()} == {k: type(v) for k, v in after.parameters.items()}


@given(steps)
def test_the_order_of_parameters_does_not_change_the_key(step):
    turned = Step(step.technique, dict(reversed(step.parameters.items())))
    assert Recipe((step,)).key == Recipe((turned,)).key


@given(st.builds(Candidate, recipes, targets))
def test_what_a_file_leaves_out_does_not_change_the_key(candidate):
    data = candidate.to_json()
    defaults = Target("").to_json()
    data["target"] = {k: v for k, v in data["target"].items() if k == "runtime" or v != defaults[k]}
    for step in data["recipe"]["steps"]:
        if not step["parameters"]:
            del step["parameters"]
    again = Candidate.from_json(data)
    assert again == candidate
    assert again.to_json() == candidate.to_json()
    assert again.key == candidate.key


@given(recipes, recipes)
def test_equal_keys_mean_equal_recipes(one, other):
    assert (one.key == other.key) == (
        json.dumps(one.to_json(), sort_keys=True) == json.dumps(other.to_json(), sort_keys=True)
    )


def test_the_golden_candidate():
    """Stores on users' disks are keyed by this form: when it changes, they are measured again."""
    golden = json.loads((GOLDEN / "candidate.json").read_text())
    assert PRUNED_INT8.to_json() == golden["candidate"]
    assert PRUNED_INT8.key == golden["key"]
    assert PRUNED_INT8.recipe.key == golden["recipe_key"]
    assert Candidate.from_json(golden["candidate"]) == PRUNED_INT8


def test_candidates_read_as_a_sentence():
    assert str(PRUNED_INT8) == (
        "prune magnitude (sparsity 0.8, epochs 2) → quantize static (per channel true) on onnxruntime · cpu · 2 threads"
    )
    assert str(Recipe()) == "original"
    assert str(Target("litert", batch_size=8)) == "litert · cpu · 1 thread · batch 8"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"recipe": {"steps": []}}, r"Not a valid Candidate: .*`target`"),
        ({"recipe": {"steps": [{"technique": 3}]}, "target": {"runtime": "x"}}, r"Expected `str`.*technique"),
        ([], r"Not a valid Candidate: Expected `object`"),
    ],
)
def test_what_is_no_candidate_is_refused_by_field(data, message):
    with pytest.raises(SettingError, match=message):
        Candidate.from_json(data)
