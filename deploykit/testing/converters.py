"""What every converter must do. A test module derives from `ConverterConformance` and parametrizes it."""

from __future__ import annotations

from pathlib import Path

from deploykit.converters._contract import CONVERTERS
from deploykit.loading._contract import FORMATS
from deploykit.loading._load import load
from deploykit.sandbox.groups._contract import GROUPS
from deploykit.testing import work

#: Largest difference of an output, relative to the largest of all outputs.
TOLERANCE = 1e-4


class ConverterConformance:
    """Derive, and give fixtures ``name`` (a converter) and ``source`` (a model of the format it reads)."""

    def test_facts(self, name: str) -> None:
        """Declared facts are complete, and formats are known ones."""
        converter = CONVERTERS.get(name)
        assert converter.label
        assert converter.help.endswith(".")
        assert converter.accepts in FORMATS
        assert converter.produces in FORMATS
        assert converter.accepts != converter.produces
        assert converter.group in GROUPS
        assert not converter.missing()
        assert all(converter.versions().values())

    def test_signature_and_outputs_stay(self, name: str, source: Path, tmp_path: Path) -> None:
        """The file is of the declared format, takes what the model took, and computes what it computed."""
        import numpy as np

        converter = CONVERTERS.get(name)
        target = tmp_path / "target"  # no ending: files in a store have none
        names = work.converted(name, source, target)["names"]  # what `Job.named` has noted
        before, after = load(source), load(target)
        assert after.format == converter.produces
        for side, old, new in (("inputs", before.inputs, after.inputs), ("outputs", before.outputs, after.outputs)):
            assert list(names[side]) == [s.name for s in old], "all names of the source, in its order"
            assert sorted(names[side].values()) == sorted(s.name for s in new), "names of the file, each one once"
            forms = {s.name: (s.example_shape, s.dtype) for s in new}
            assert {names[side][s.name]: (s.example_shape, s.dtype) for s in old} == forms
        rng = np.random.default_rng(0)
        kinds = {spec.name: spec.dtype for spec in before.inputs}
        shapes = {spec.name: (5, *((d or 1) for d in spec.shape[1:])) for spec in before.inputs if spec.shape}
        feeds = {
            key: rng.normal(0.0, 1.0, shape).astype(kinds[key])
            if kinds[key].startswith("float") else rng.integers(0, 2, shape).astype(kinds[key])
            for key, shape in shapes.items()
        }  # fmt: skip
        given = work.predicted(source, converter.accepts, feeds)
        found = work.predicted(target, converter.produces, {names["inputs"][k]: v for k, v in feeds.items()})
        largest = max(float(np.abs(value).max()) for value in given.values())
        for key, value in given.items():
            assert np.abs(found[names["outputs"][key]] - value).max() < TOLERANCE * largest, key
        assert any(np.ptp(value, axis=0).max() > 0.01 * largest for value in given.values()), "the test cannot fail"
