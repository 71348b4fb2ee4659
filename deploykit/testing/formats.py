"""What every format must do. A test module derives from `FormatConformance` and parametrizes it with the registry."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any, get_args

from deploykit.core.contract import Contract, InputMeaning, OutputMeaning
from deploykit.core.errors import DeploykitError, ModelFileError, UnsupportedModelError
from deploykit.core.layers.kinds import LIGHT, LayerKind
from deploykit.core.layers.names import same_layers
from deploykit.core.model import Model
from deploykit.loading._contract import FORMATS
from deploykit.loading._load import load
from deploykit.sandbox.groups._contract import GROUPS
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Report, Task

_HEAD_BYTES = 4096
#: Contents that are not models of any format; an archive of text is another one.
_FOREIGN = (b"", bytes(_HEAD_BYTES), b"\xff" * _HEAD_BYTES, b"label,x\n1,0.5\n" * 400)


def answers(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: the outputs of a model as it was given, for seeded random examples."""
    import numpy as np

    del report
    model = Model.from_json(arguments["model"])
    rng = np.random.default_rng(0)
    feeds = {
        s.name: rng.random((arguments["count"], *((d or 1) for d in s.example_shape or ()))).astype(s.dtype)
        for s in model.inputs
    }
    session = FORMATS.get(model.format).open_given(Path(model.path), _contract(model))
    found = session.predict(feeds)
    session.close()
    return {name: np.asarray(value, np.float64).tolist() for name, value in found.items()}


def _contract(model: Model) -> Contract:
    first = model.outputs[0].name
    return Contract(
        tuple(InputMeaning(s.name, s.name, "name", s.dtype, s.dtype, s.shape, s.batch_axis) for s in model.inputs),
        tuple(
            OutputMeaning(s.name, "values", "scored" if s.name == first else "judged", s.dtype, s.shape, s.batch_axis)
            for s in model.outputs
        ),
    )


def weights(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: what a format lists as weights, and what their values are like."""
    import numpy as np

    del report
    found = []
    for weight in FORMATS.get(arguments["format"]).weights(Path(arguments["path"])):
        values = weight.load()
        found.append(
            {
                "layer": weight.layer, "name": weight.name, "stored": weight.stored, "shape": list(weight.shape),
                "loaded": list(values.shape), "finite": bool(np.isfinite(values).all()),
                "spread": float(np.ptp(values)),
            }
        )  # fmt: skip
    return {"weights": found}


def _run(function: str, group: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    return shared().run(Task(f"deploykit.testing.formats:{function}", arguments, group, 300.0, name=function))


class FormatConformance:
    """Derive, and give fixtures ``name`` (a format) and ``source`` (a small model of it, with its usual ending)."""

    def test_facts(self, name: str) -> None:
        """Declared facts are complete; what is not a folder has an ending."""
        form = FORMATS.get(name)
        assert form.label
        assert form.help.endswith(".")
        assert form.suffixes or form.is_folder
        assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in form.suffixes)
        assert set(form.shared_suffixes) <= set(form.suffixes)
        assert not {s for f in FORMATS.all() for s in f.suffixes} & set(form.companions)
        others = {suffix for f in FORMATS.all() if f is not form for suffix in f.suffixes}
        assert not others & set(form.suffixes)
        assert form.group in GROUPS
        assert form.full_group is None or form.full_group in GROUPS
        assert form.given_group() in GROUPS
        assert not form.missing()
        assert all(form.versions().values())

    def test_the_content_alone_shows_what_it_is(self, name: str, source: Path) -> None:
        """It recognizes its model, and no other format does."""
        assert source.is_dir() == FORMATS.get(name).is_folder
        head = b"" if source.is_dir() else source.read_bytes()[:_HEAD_BYTES]
        takers = [f.name for f in FORMATS.all() if f.is_folder == source.is_dir() and f.matches(source, head)]
        assert takers == [name]

    def test_other_content_is_left_to_others(self, name: str, tmp_path: Path) -> None:
        """Empty files, zeros, text, another archive, an empty folder."""
        form = FORMATS.get(name)
        path = tmp_path / f"other{next(iter(form.suffixes), '')}"
        if form.is_folder:
            path.mkdir()
            (path / "notes.txt").write_text("no model", "utf-8")
            assert not form.matches(path, b"")
            return
        with zipfile.ZipFile(tmp_path / "notes.zip", "w") as archive:
            archive.writestr("notes.txt", "no model")
        for content in (*_FOREIGN, (tmp_path / "notes.zip").read_bytes()):
            path.write_bytes(content)
            assert not form.matches(path, content[:_HEAD_BYTES]), content[:16]

    def test_the_summary_is_complete(self, name: str, source: Path) -> None:
        """Signature, layers with their kinds, and counts are there, and survive JSON."""
        model = load(source)
        assert model.format == name
        for side in (model.inputs, model.outputs):
            assert side
            assert len({spec.name for spec in side}) == len(side)
            assert all(spec.name and spec.dtype and spec.shape for spec in side)
        assert model.layers
        assert all(layer.type and layer.kind in get_args(LayerKind) for layer in model.layers)
        assert {layer.kind for layer in model.layers} - LIGHT - {"other"}, "no layer's kind is known"
        assert len({layer.name for layer in model.layers}) == len(model.layers)
        assert model.parameter_count > 0
        files = [p for p in source.rglob("*") if p.is_file()] if source.is_dir() else [source]
        extra = [Path(f) for f in model.extra_files]
        assert model.size_bytes == sum(p.stat().st_size for p in (*files, *extra))
        assert Model.from_json(json.loads(json.dumps(model.to_json()))) == model

    def test_a_copy_under_another_name_is_the_same_model(self, name: str, source: Path, tmp_path: Path) -> None:
        """Files in a store have no endings: content decides, and the digest is that of the content."""
        model, copy = load(source), load(_copied(source, tmp_path / "cöpy of it"))
        assert (copy.format, copy.digest) == (name, model.digest)
        assert (copy.inputs, copy.outputs, copy.layers) == (model.inputs, model.outputs, model.layers)

    def test_a_copy_that_ends_early_is_refused(self, name: str, source: Path, tmp_path: Path) -> None:
        """The error names the file and says what to do; nothing crashes."""
        whole = load(source)
        files = [p.relative_to(source) for p in sorted(source.rglob("*")) if p.is_file()] if source.is_dir() else [None]
        refused = 0
        for number, file in enumerate(files):
            copy = _copied(source, tmp_path / f"copy-{number}{source.suffix}")
            cut = copy if file is None else copy / file
            data = cut.read_bytes()
            cut.write_bytes(data[: len(data) // 2])
            try:
                found = load(copy)
            except ModelFileError as error:
                refused += 1
                assert copy.name in str(error)  # noqa: PT017  the package does not depend on pytest
                assert error.remedy  # noqa: PT017
            else:  # a file that the summary does not need, such as a fingerprint
                assert (found.inputs, found.outputs) == (whole.inputs, whole.outputs)
                assert found.digest != whole.digest
        assert refused, "no file of the model is missed"

    def test_it_answers_in_its_own_framework(self, name: str, source: Path) -> None:
        """As it was given, for any number of examples: the reference of every conversion."""
        model = load(source)
        group = FORMATS.get(name).given_group()
        many, one = (_run("answers", group, {"model": model.to_json(), "count": count}) for count in (5, 1))
        assert list(many) == [spec.name for spec in model.outputs]
        for key, values in many.items():
            assert len(values) == 5
            assert values[0] != values[1], "the test cannot fail"
            difference = [abs(a - b) for a, b in zip(_flat(values[0]), _flat(one[key][0]), strict=True)]
            assert max(difference) < 1e-5

    def test_weights_are_those_of_its_layers(self, name: str, source: Path) -> None:
        """Tensors with at least two dimensions, or a refusal that names the format."""
        model = load(source)
        try:
            found = _run("weights", FORMATS.get(name).group, {"format": name, "path": str(source)})["weights"]
        except UnsupportedModelError as error:
            assert FORMATS.get(name).label in str(error)  # noqa: PT017
            return
        assert found
        owners = same_layers([[weight["layer"]] for weight in found], [layer.name for layer in model.layers])
        assert set(owners) >= set(range(len(found))), "a weight's layer is not in the summary"
        for weight in found:
            assert len(weight["shape"]) >= 2
            assert weight["loaded"] == weight["shape"]
            assert weight["stored"]
            assert weight["finite"]
            assert weight["spread"] > 0

    def test_a_missing_file_is_named(self, name: str, tmp_path: Path) -> None:
        """As for every path that the user mistyped."""
        path = tmp_path / f"missing{next(iter(FORMATS.get(name).suffixes), '')}"
        try:
            load(path)
        except DeploykitError as error:
            assert path.name in str(error)  # noqa: PT017
        else:
            raise AssertionError("a file that is not there was loaded")


def _flat(value: Any) -> list[float]:
    return [x for item in value for x in _flat(item)] if isinstance(value, list) else [value]


def _copied(source: Path, target: Path) -> Path:
    """A copy under another name, with the further files of the model beside it under their own."""
    if source.is_dir():
        shutil.copytree(source, target)
        return target
    shutil.copyfile(source, target)
    for extra in load(source).extra_files:
        shutil.copyfile(extra, target.parent / Path(extra).relative_to(source.parent))
    return target
