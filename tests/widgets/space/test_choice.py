import pytest
from deploykit_widgets.code import script
from deploykit_widgets.space.choice import PRESETS, SpaceChoice, base_values, technique_adapters, techniques_of, varied

import deploykit as dk
from deploykit.core.registry import registry
from deploykit.core.space import Refine

GIVEN = dk.Space((dk.Recipe((dk.Step("quantize_dynamic", {"per_channel": True}),)),), (dk.Target("litert", threads=2),))
SIZED = dk.Space(GIVEN.recipes, (dk.Target("litert", lengths=(4, 8)), dk.Target("onnxruntime")), lengths=(16, 32))
REFINED = dk.Space((dk.Recipe((dk.Step("quantize_static"),)),), refine=Refine(2, (2, 4)))
CHOICES = {
    "untouched": SpaceChoice(),
    "other preset": SpaceChoice("thorough"),
    "values": SpaceChoice(values={"prune_magnitude": {"sparsity": (0.3, 0.6)}}),
    "two values": SpaceChoice(
        "balanced",
        values={"prune_magnitude": {"sparsity": (0.5,), "epochs": (1, 3)}, "quantize_static": {"io": ("int8",)}},
    ),
    "left out": SpaceChoice(techniques={"prune_magnitude": False, "quantize_static": True}),
    "left out and values": SpaceChoice(
        techniques={"quantize_float16": False}, values={"prune_magnitude": {"sparsity": (0.9,)}}
    ),
    "targets": SpaceChoice(targets=(dk.Target("onnxruntime", threads=2), dk.Target("litert", batch_size=8))),
    "all": SpaceChoice(
        techniques={"quantize_dynamic": False},
        values={"quantize_static": {"per_channel": (False, True)}},
        targets=(dk.Target("onnxruntime"),),
    ),
    "given": SpaceChoice("", GIVEN),
    "given, elsewhere": SpaceChoice("", GIVEN, targets=(dk.Target("onnxruntime"),)),
    "given, refined": SpaceChoice("", REFINED),
    "added": SpaceChoice("", GIVEN, {"quantize_static": True}, {"quantize_static": {"io": ("float", "int8")}}),
    "added one by one": SpaceChoice(
        techniques={"prune_magnitude": False},
        extra=(dk.Recipe((dk.Step("quantize_static", {"exclude": "conv_1, Softmax"}),)),),
    ),
    "lengths": SpaceChoice(lengths=(16, 64)),
    "lengths elsewhere": SpaceChoice("balanced", targets=(dk.Target("onnxruntime"),), lengths=(16,)),
    "given, with lengths": SpaceChoice("", SIZED),
    "given, without its lengths": SpaceChoice("", SIZED, targets=(dk.Target("litert"),), lengths=()),
    "added, defaults": SpaceChoice("", GIVEN, {"quantize_float16": True, "quantize_dynamic": False}),
}


@pytest.mark.parametrize("name", CHOICES)
def test_the_code_makes_the_space_that_the_controls_mean(name):
    choice = CHOICES[name]
    code = "\n".join(["import dataclasses", "import deploykit as dk", *script._space(choice)])
    found = {"space": dk.Space.preset(choice.preset)} if choice.preset else {}
    exec(code, found)
    assert found["space"] == choice.space
    assert max(map(len, code.split("\n"))) <= 100


def test_nothing_changed_is_the_preset_and_makes_no_code():
    for preset in PRESETS:
        choice = SpaceChoice(preset)
        assert choice.space == dk.Space.preset(preset)
        assert script._space(choice) == []


def test_changed_values_are_arguments_of_the_preset():
    assert script._space(CHOICES["values"]) == [
        'space = dk.Space.preset("quick", prune_magnitude={"sparsity": [0.3, 0.6]})'
    ]


def test_what_is_not_ticked_is_gone_and_the_original_stays():
    space = CHOICES["left out"].space
    assert "prune_magnitude" not in techniques_of(space)
    assert "quantize_static" in techniques_of(space)
    assert dk.Recipe() in space.recipes


def test_an_added_technique_has_a_recipe_for_each_combination():
    added = CHOICES["added"].space.recipes[-2:]
    assert [r.steps[0].parameters for r in added] == [{"io": "float"}, {"io": "int8"}]


def test_values_of_a_preset_are_shown_and_its_parameters_come_first():
    preset = dk.Space.preset("balanced")
    prune = registry("deploykit.transforms", "technique").get("prune_magnitude")
    shown = base_values(preset, "prune_magnitude", prune.parameters)
    assert shown["sparsity"] == (0.5, 0.7, 0.8, 0.9)
    assert set(shown) == {p.name for p in prune.parameters}
    assert varied(preset, "prune_magnitude") == {"sparsity"}


def test_every_technique_is_offered_once():
    names = [a.name for a in technique_adapters()]
    assert sorted(names) == sorted(registry("deploykit.transforms", "technique").names())
