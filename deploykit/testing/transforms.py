"""What every technique must do. A test module derives from the suites here and parametrizes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

from deploykit.core.candidate import Step
from deploykit.core.digest import path_digest
from deploykit.core.errors import DatasetError, SettingError
from deploykit.core.parameter import Parameter, Value
from deploykit.loading._contract import FORMATS
from deploykit.loading._load import load
from deploykit.sandbox.groups._contract import GROUPS
from deploykit.testing import work
from deploykit.transforms._conditions import Condition, Done, SameSignature, Without, Zeros
from deploykit.transforms._contract import DATA, TRANSFORMS, Family, Need, lacking


class TechniqueConformance:
    """Derive, and give a fixture ``name`` (a technique). Runs nothing."""

    def test_facts(self, name: str) -> None:
        """Declared facts are complete and consistent."""
        technique = TRANSFORMS.get(name)
        assert technique.label
        assert technique.help.endswith(".")
        assert isinstance(technique.family, Family)
        names = [v.name for v in technique.variants]
        values = technique.complete({})
        assert names
        assert len(set(names)) == len(names)
        for variant in technique.variants:
            assert technique.variant(variant.name) is variant
            assert variant.label
            assert variant.accepts
            assert all(f in FORMATS for f in (*variant.accepts, variant.produces))
            assert set(variant.needs) <= set(get_args(Need))
            assert variant.needs_for(values) <= set(variant.needs)
            assert variant.finishing_needs(values) <= set(variant.needs)
            assert variant.group in GROUPS
            assert not variant.missing()
            assert all(variant.versions().values())
            for stage in variant.stages:
                assert variant.stage(stage.name) is stage
                assert stage.label
                assert set(stage.uses) <= set(variant.uses)
                assert set(stage.needs) <= set(variant.needs)
                assert stage.group in GROUPS
                assert not stage.missing()

    def test_conditions(self, name: str) -> None:
        """What is expected and ensured are conditions; who says that there are zeros says how many."""
        technique = TRANSFORMS.get(name)
        values = technique.complete({})
        for variant in technique.variants:
            ensured = list(variant.ensures(values))
            assert all(isinstance(c, Condition) for c in (*variant.expects(values), *ensured))
            assert any(isinstance(c, SameSignature) for c in ensured), "callers rely on the signature"
            if "sparse" in variant.effects(values):
                assert any(isinstance(c, Zeros) for c in ensured), f"{variant.name} ensures no share of zeros"

    def test_nothing_is_done_twice_to_a_model(self, name: str) -> None:
        """What a variant expects not to be there is refused by name when it is there."""
        technique = TRANSFORMS.get(name)
        for variant in technique.variants:
            for condition in variant.expects(technique.complete({})):
                if isinstance(condition, Without):
                    before = {condition.effect: Done("another step")}
                    assert "after another step" in condition.foreseen(technique.label, before)
                    assert not condition.foreseen(technique.label, {})

    def test_every_parameter_matters_somewhere(self, name: str) -> None:
        """Variants use declared parameters only, and each parameter is used by one at least."""
        technique = TRANSFORMS.get(name)
        declared = {p.name for p in technique.parameters}
        assert len(declared) == len(technique.parameters)
        assert {used for v in technique.variants for used in v.uses} == declared

    def test_parameters_are_described(self, name: str) -> None:
        """Each has a sentence of help and a default within its own range, and survives JSON."""
        for parameter in TRANSFORMS.get(name).parameters:
            assert parameter.help.endswith("."), parameter.name
            assert parameter.check(parameter.default, name) == parameter.default
            assert Parameter.from_json(json.loads(json.dumps(parameter.to_json()))) == parameter
            if parameter.kind in ("float", "int"):
                assert parameter.minimum is not None, f"{parameter.name} has no lower bound"

    def test_settings_without_effect_are_refused(self, name: str) -> None:
        """A setting that only matters with another one, or that another one replaces, is named beside it."""
        technique = TRANSFORMS.get(name)
        declared = {p.name: p for p in technique.parameters}
        for parameter in technique.parameters:
            assert {parameter.under, parameter.replaces} <= {"", *declared}
            if parameter.under:
                kind = declared[parameter.under].kind
                off: Value = "" if kind == "text" else False if kind == "bool" else 0
                given = {parameter.under: off, parameter.name: another(parameter)}
                assert parameter.name in technique.idle(technique.complete(given))
                assert parameter.name not in technique.single(given) or technique.one_shot.get(parameter.under)
            if parameter.replaces:
                given = {p.name: another(p) for p in (parameter, declared[parameter.replaces])}
                assert parameter.replaces in technique.idle(technique.complete(given))
        assert not technique.idle(technique.complete({}))

    def test_steps_survive_json(self, name: str) -> None:
        """A step with all parameters is the same after a round trip, and is described without its defaults."""
        technique = TRANSFORMS.get(name)
        step = Step(name, technique.complete({}))
        assert Step.from_json(json.loads(json.dumps(step.to_json()))) == step
        assert technique.describe({}).startswith(technique.label)
        assert "(" not in technique.describe({}).removeprefix(technique.label), "defaults are not worth a mention"

    def test_an_unknown_parameter_is_refused(self, name: str) -> None:
        """The error lists the known ones."""
        technique = TRANSFORMS.get(name)
        message = _refusal(lambda: technique.complete({"zeal": 1}))
        assert "zeal" in message
        assert name in message
        assert all(p.name in message for p in technique.parameters)

    def test_values_out_of_range_are_refused(self, name: str) -> None:
        """The error names the technique, the parameter and what is allowed."""
        technique = TRANSFORMS.get(name)
        for parameter in technique.parameters:
            for value, allowed in _bad_values(parameter):
                given = {parameter.name: value}
                message = _refusal(lambda given=given: technique.complete(given))
                assert f"{name}: {parameter.name}" in message
                assert allowed in message, message


class VariantConformance:
    """Derive, and give fixtures ``name``, ``variant``, ``source`` (a model it reads) and ``data`` (a saved Dataset)."""

    def test_a_model_is_written(self, name: str, variant: str, source: Path, data: Path, tmp_path: Path) -> None:
        """The file has the declared format, keeps all names, and gives finite outputs near the source's.

        That it has what the variant ensures is checked as it is written.
        """
        import numpy as np

        declared = TRANSFORMS.get(name).variant(variant)
        target = tmp_path / "target"  # no ending: files in a store have none
        notes = work.transformed(name, variant, source, target, data, **quick(name))
        assert notes["reports"] or not declared.needs, "work that reads data takes long enough to report progress"
        assert not notes.get("not_checked"), "something that it ensures does not show in the file"
        technique = TRANSFORMS.get(name)
        values = technique.complete(quick(name))
        asleep = {p.name for p in technique.parameters if p.under and not values[p.under]}
        assert set(declared.uses) - asleep <= set(notes["read"]), "a setting that it says to use is never read"
        before, after = load(source), load(target)
        assert after.format == declared.produces
        assert {s.name for s in after.inputs} == {s.name for s in before.inputs}
        assert {s.name for s in after.outputs} == {s.name for s in before.outputs}
        if declared.keeps_layers:
            known = {layer.name: layer for layer in before.layers}
            assert {(x.name, x.type) for x in after.layers} <= {(x.name, x.type) for x in known.values()}
            smaller = "smaller" in declared.effects(TRANSFORMS.get(name).complete(quick(name)))
            assert smaller or all(x.shape == known[x.name].shape for x in after.layers)
        feeds = {before.inputs[0].name: np.random.default_rng(0).random((6, 8, 8, 1), np.float32)}
        given, found = (work.predicted(p, f, feeds) for p, f in ((source, before.format), (target, after.format)))
        for key, value in given.items():
            assert found[key].shape == value.shape
            assert np.isfinite(found[key]).all()
            assert np.abs(found[key] - value).mean() < 0.2, "outputs have nothing in common with the source's"
        assert notes.get("unchanged") or path_digest(target) != path_digest(source), "nothing was changed"

    def test_a_pattern_holds_in_every_block(
        self, name: str, variant: str, source: Path, data: Path, tmp_path: Path
    ) -> None:
        """Of every M input channels, no more than N have weights that are not zero; where there is such a setting."""
        technique = TRANSFORMS.get(name)
        declared = technique.variant(variant)
        choices = next((p.choices for p in technique.parameters if p.name == "pattern"), ())
        if "pattern" not in declared.uses or "2:4" not in choices:
            return
        settings = {**quick(name), "pattern": "2:4"}
        work.transformed(name, variant, source, tmp_path / "target", data, **settings)
        kernels = work.kernels_of(tmp_path / "target", declared.produces)
        pruned = {layer for layer, rows in kernels.items() if (rows == 0).any()}
        assert pruned, "nothing was pruned"
        for layer in pruned:
            rows = kernels[layer]
            blocks = rows[..., : rows.shape[-1] // 4 * 4].reshape(-1, 4)
            assert ((blocks != 0).sum(1) <= 2).all(), f"{layer} breaks the pattern"

    def test_missing_data_are_named(self, name: str, variant: str, source: Path, tmp_path: Path) -> None:
        """Without data, a variant that needs them says so; one that does not works."""
        technique = TRANSFORMS.get(name)
        needs = technique.variant(variant).needs_for(technique.complete(quick(name))) & DATA
        try:
            work.transformed(name, variant, source, tmp_path / "target", None, **quick(name))
        except DatasetError as error:
            assert lacking(needs, None) in str(error)  # noqa: PT017  the package does not depend on pytest
            assert needs
        else:
            assert not needs


def quick(name: str) -> dict[str, Any]:
    """Settings that make a technique quick to run."""
    declared = {p.name for p in TRANSFORMS.get(name).parameters}
    return {k: v for k, v in {"epochs": 1, "batch_size": 8, "train_examples": 32}.items() if k in declared}


def another(parameter: Parameter) -> Value:
    """A value that is not the default, and is neither empty, off nor 0."""
    if parameter.kind == "choice":
        return next(c for c in parameter.choices if c != parameter.default)
    if parameter.kind in ("text", "path"):
        return "another"
    if parameter.kind == "bool":
        return not parameter.default
    low, high = parameter.minimum or 0, parameter.maximum
    ends = (high, low, low + 1 if high is None else (low + high) / 2)
    return next(type(parameter.default or 1.0)(x) for x in ends if x and x != parameter.default)


def _bad_values(parameter: Parameter) -> list[tuple[Any, str]]:
    if parameter.kind == "choice":
        return [("astrology", parameter.choices[0])]
    if parameter.kind == "bool":
        return [("yes", "true or false")]
    if parameter.kind == "text":
        return [(1, "text")]
    if parameter.kind == "path":
        return [(1, "path")]
    found: list[tuple[Any, str]] = [("many", "number")]
    if parameter.minimum is not None:
        found.append((parameter.minimum - 1, parameter.bounds))
    if parameter.maximum is not None:
        found.append((parameter.maximum + 1, parameter.bounds))
    return found


def _refusal(call: Any) -> str:
    try:
        call()
    except SettingError as error:
        return str(error)
    raise AssertionError("a bad setting was accepted")
