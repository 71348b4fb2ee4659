import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.errors import SettingError
from deploykit.core.serial import dump, parse
from deploykit.core.space import Refine, Space

PRUNE = Recipe((Step("prune_magnitude", {"sparsity": 0.5}),))
INT8 = Recipe((Step("quantize_static"),))
BOTH = Recipe((*PRUNE.steps, *INT8.steps))
TARGETS = (Target("litert"), Target("onnxruntime"))

names = st.sampled_from(["prune_magnitude", "quantize_static", "quantize_float16"])
steps = st.builds(Step, names, st.dictionaries(st.sampled_from("abc"), st.floats(0, 1) | st.booleans() | st.text()))
recipes = st.builds(Recipe, st.lists(steps, max_size=3).map(tuple))
targets = st.builds(Target, st.sampled_from(["litert", "onnxruntime"]), threads=st.integers(1, 4))
spaces = st.builds(
    Space,
    st.lists(recipes, max_size=5).map(tuple),
    st.lists(targets, max_size=4).map(tuple),
    st.builds(Refine, st.integers(0, 3), st.lists(st.integers(1, 8), max_size=2).map(tuple)),
    st.text(),
)


def test_steps_and_names_stand_for_recipes_and_targets():
    assert Space([INT8.steps[0], BOTH.steps, "quantize_float16"], ["litert"]) == Space(
        [INT8, BOTH, Recipe((Step("quantize_float16"),))], [Target("litert")]
    )


@pytest.mark.parametrize(
    ("recipes", "targets", "message"),
    [
        (INT8, (), "list of recipes"),
        (INT8.steps[0], (), "list of recipes"),
        ([3], (), "got 3.*Step"),
        ([INT8], "litert", "list of targets"),
        ([INT8], [4], "got 4.*name of a runtime"),
    ],
)
def test_anything_else_is_refused_at_once(recipes, targets, message):
    with pytest.raises(SettingError, match=message):
        Space(recipes, targets)


@given(spaces)
def test_spaces_survive_json_text(space):
    assert Space.from_json(parse(dump(space))) == space


@given(spaces)
def test_candidates_are_unique_ordered_and_begin_with_the_model_as_given(space):
    found = space.candidates(TARGETS)
    assert len({c.key for c in found}) == len(found)
    assert [c.recipe for c in found[: len(TARGETS)]] == [Recipe()] * len(TARGETS)
    assert found == space.candidates(TARGETS)
    assert {c.recipe.key for c in found} == {r.key for r in (Recipe(), *space.recipes)}


def test_duplicates_are_one_candidate():
    again = Recipe((Step("prune_magnitude", {"sparsity": 0.5}),))
    assert len(Space((PRUNE, again, Recipe())).candidates((*TARGETS, *TARGETS))) == 4


@pytest.mark.parametrize("ending", ["json", "yaml", "yml"])
def test_saved_spaces_open_again(tmp_path, ending):
    space = Space([PRUNE, BOTH], list(TARGETS), Refine(2, (2, 4)), "mine")
    path = tmp_path / f"space.{ending}"
    space.save(path)
    assert Space.from_file(path) == space


def test_the_golden_space(tmp_path):
    golden = Path(__file__).parent / "golden" / "space.json"
    space = Space((PRUNE, BOTH), TARGETS, Refine(2, (2,)), "mine")
    space.save(tmp_path / "space.json")
    assert json.loads((tmp_path / "space.json").read_text()) == json.loads(golden.read_text())
    assert Space.from_file(golden) == space


@pytest.mark.parametrize(
    ("content", "ending", "message"),
    [
        (None, "json", r"Cannot read the space '.*space\.json': No such file"),
        (b"", "json", r"space\.json: Not JSON"),
        (b"{'a': 1}", "json", r"space\.json: Not JSON"),
        (b"[" * 100_000, "json", r"space\.json: Not JSON"),
        (b"\xff\xfe\x00", "json", r"space\.json is not a space: it is not a text file"),
        (b"a: [1", "yaml", r"space\.yaml: Not YAML"),
        (b"!!python/object/apply:os.system ['true']", "yaml", r"space\.yaml: Not YAML"),
        (b"{}", "json", r"space\.json: Not a valid Space: .*`recipes`"),
        (b'{"recipes": [], "target": []}', "json", r"Unknown field of the space 'target'.*did you mean 'targets'"),
        (
            b'{"recipes": [{}, {"steps": [{"technique": "x", "params": {}}]}]}',
            "json",
            r"space\.json: Unknown field of recipes\[1\]\.steps\[0\] 'params'.*known: .*parameters",
        ),
        (b"recipes: []\ntargets: [{runtime: x, batch: 8}]", "yaml", r"field of targets\[0\] 'batch'.*'batch_size'"),
        (b'{"recipes": [{"steps": [{"parameters": {}}]}]}', "json", r"space\.json: .*`technique`.*recipes"),
    ],
)
def test_broken_files_are_named(tmp_path, content, ending, message):
    path = tmp_path / f"space.{ending}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingError, match=message):
        Space.from_file(path)


def test_quick_is_a_preset_and_carries_its_name():
    space = Space.preset("quick")
    assert space.name == "quick"
    assert len({r.key for r in space.recipes}) == len(space.recipes) > 5


def test_the_smallest_files_are_made_in_the_order_of_deep_compression():
    """Each step would undo the one that comes before it in the other order."""
    order = ["prune_magnitude", "cluster_weights", "quantize_static", "quantize_dynamic"]
    made = [[order.index(s.technique) for s in r.steps] for r in Space.preset("smallest").recipes]
    assert made == [sorted(steps) for steps in made]
    assert sum(len(steps) == 3 for steps in made) >= 2


def test_unknown_presets_list_the_known():
    with pytest.raises(SettingError, match=r"Unknown preset 'quik'\. Remedy: did you mean 'quick'\? known: .*quick"):
        Space.preset("quik")


def test_changes_vary_each_recipe_that_has_the_technique():
    plain = Space.preset("quick")
    varied = Space.preset("quick", prune_magnitude={"sparsity": [0.3, 0.6, 0.9]})
    pruned = [r for r in varied.recipes if any(s.technique == "prune_magnitude" for s in r.steps)]
    assert {s.parameters["sparsity"] for r in pruned for s in r.steps if s.technique == "prune_magnitude"} == {
        0.3,
        0.6,
        0.9,
    }
    untouched = [r for r in plain.recipes if all(s.technique != "prune_magnitude" for s in r.steps)]
    assert [r for r in varied.recipes if r not in pruned] == untouched
    assert len({r.key for r in varied.recipes}) == len(varied.recipes)


def test_a_single_value_is_a_list_of_one():
    assert Space.preset("quick", prune_magnitude={"sparsity": 0.7}) == Space.preset(
        "quick", prune_magnitude={"sparsity": [0.7]}
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"prune_magnitud": {"sparsity": 0.5}},
            r"Unknown technique in the preset 'quick' 'prune_magnitud'.*did you mean",
        ),
        ({"prune_magnitude": [0.5]}, r"prune_magnitude: expected a dictionary of parameter values, got \[0\.5\]"),
        ({"prune_magnitude": {"sparsity": []}}, r"prune_magnitude: no values are given for sparsity"),
    ],
)
def test_changes_that_make_no_sense(changes, message):
    with pytest.raises(SettingError, match=message):
        Space.preset("quick", **changes)


def test_lengths_of_a_space_are_those_of_targets_that_name_none():
    own = Target("litert", lengths=(8,))
    space = Space((), (Target("onnxruntime"), own), lengths=(64, 16))
    assert [c.target.lengths for c in space.candidates(space.targets)] == [(16, 64), (8,)]
    assert Space.from_json(space.to_json()) == space
    assert "lengths" not in Space(()).to_json()
    for wrong in ([0], [1.5], ["a"], "16"):
        with pytest.raises(SettingError, match="lengths"):
            Space((), lengths=wrong)
