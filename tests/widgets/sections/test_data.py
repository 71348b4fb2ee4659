"""What the browser is sent of the data, and what it can ask."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from deploykit_widgets.code.script import inputs as inputs_script
from deploykit_widgets.code.script import script
from deploykit_widgets.data import notebook_names
from deploykit_widgets.data.fit import on_screen
from deploykit_widgets.data.source import source_of
from deploykit_widgets.data.typed import as_typed
from deploykit_widgets.sections.data import DataSection, balance, fraction, shape
from deploykit_widgets.state import Goal, State
from PIL import Image

import deploykit as dk
from deploykit.core.errors import SettingError
from deploykit.reporting.evidence import samples
from deploykit.testing import models as tiny
from tests.measuring import variants


@pytest.fixture
def section(commands):
    return DataSection(commands)


def use(commands, data, **changes):
    commands.desk.post(lambda: commands.state.change(data=data, **changes))
    assert commands.desk.settle()


def labelled(count, classes=3):
    rng = np.random.default_rng(0)
    return dk.Dataset.from_arrays(rng.random((count, 8, 8), np.float32), np.arange(count) % classes)


def test_data_are_read_with_their_options(section, ask, commands, tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "digits.npz"
    np.savez(path, x=rng.integers(0, 255, (100, 8, 8), np.uint8), y=np.arange(100) % 4)
    ask(section, "load_data", path=f" {path} ", scale="1/255", reshape="8, 8, 1")
    assert commands.state.problems.get("data", "") == ""
    value = section.value()
    assert (value["path"], value["reshape"]) == (str(path), "8, 8, 1")
    assert value["scale"] == "1/255"
    facts = value["facts"]
    assert facts["examples"] == sum(s["count"] for s in facts["splits"]) == 100
    assert facts["inputs"] == ["input: uint8 (8, 8)"]
    assert facts["labels"] == "4 classes"
    assert facts["preprocessing"] == ["reshape to (8, 8, 1), × 0.003922"]
    samples, pictures = ask(section, "data_samples", digest=facts["digest"])
    assert [s["index"] for s in samples] == list(range(12))
    opened = Image.open(io.BytesIO(pictures[3]))
    data = commands.state.data.splits["evaluation"]
    np.testing.assert_array_equal(np.asarray(opened), data.inputs["input"][3])
    assert samples[3]["label"] == str(data.labels[3])
    assert ask(section, "data_samples", digest="other") == ([], [])


def test_what_cannot_be_read_is_said_in_words(section, ask, commands, tmp_path):
    ask(section, "load_data", path=str(tmp_path / "nothing.npz"))
    assert "nothing.npz" in commands.state.problems["data"]
    with pytest.raises(SettingError, match="scale must be a number or a fraction"):
        ask(section, "load_data", path="x.npz", scale="a lot")
    with pytest.raises(SettingError, match="reshape must be whole numbers"):
        ask(section, "load_data", path="x.npz", reshape="28 by 28")
    assert (fraction(" 1/4"), fraction(""), shape("(3 × 4)"), shape(" ")) == (0.25, 1.0, (3, 4), None)


def test_a_field_is_read_as_soon_as_it_is_typed(section, ask):
    for name, text in (("scale", "1/255"), ("reshape", "28 × 28 × 1"), ("mean", ""), ("std", "0.2, 0.3")):
        ask(section, "check_setting", name=name, text=text)
    with pytest.raises(SettingError, match=r"^Scale must be a number or a fraction such as 1/255, got 'a lot'"):
        ask(section, "check_setting", name="scale", text="a lot")
    with pytest.raises(SettingError, match=r"^Reshape must be whole numbers"):
        ask(section, "check_setting", name="reshape", text="28 by 28")


@pytest.mark.parametrize(
    ("scale", "words"), [(1.0, ""), (1 / 127.5, "0.00784313725490196"), (0.5, "1/2"), (2.0, "2.0")]
)
def test_a_scale_is_written_as_it_would_be_typed(scale, words):
    assert as_typed(dk.Preprocess(scale=scale))["scale"] == words


def test_a_variable_of_the_notebook_is_used_by_its_name(section, ask, commands, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.random((60, 4), np.float32), np.arange(60) % 2
    variables = {
        "held_out": labelled(60), "pair": (x, y), "x_test": x, "y_test": y, "x_train": x, "y_train": y[:9], "_": x,
        "text": "no data",
    }  # fmt: skip
    monkeypatch.setattr(notebook_names, "namespace", lambda: variables)
    names, _ = ask(section, "data_names")
    assert [n["name"] for n in names] == ["held_out", "pair", "x_test, y_test"]
    assert names[1]["what"] == "pair of 60 × 4 and 60"
    ask(section, "use_variable", name="x_test, y_test")
    assert section.value()["name"] == "x_test, y_test"
    assert section.value()["facts"]["examples"] == 60
    ask(section, "use_variable", name="held_out")
    assert commands.state.data is variables["held_out"]
    with pytest.raises(SettingError, match="has no variable 'x_val'"):
        ask(section, "use_variable", name="x_val")
    ask(section, "use_variable", name="text")
    assert "got str" in commands.state.problems["data"]


def test_examples_that_are_no_pictures_come_as_cells(section, ask, commands):
    rng = np.random.default_rng(0)
    data = dk.Dataset.from_arrays(rng.random((60, 3), np.float32), rng.random(60))
    use(commands, data)
    facts = section.value()["facts"]
    assert not facts["pictures"]
    assert facts["labels"].startswith("real numbers from")
    samples, pictures = ask(section, "data_samples", digest=facts["digest"])
    assert pictures == []
    assert samples[0]["cells"] == [f"{v:.4g}" for v in data.splits["evaluation"].inputs["input"][0]]


def test_labels_that_are_texts_are_shown(section, ask, commands, tmp_path):
    rows = ["file,sentence"]
    for i in range(30):
        soundfile.write(tmp_path / f"{i}.wav", np.full(80, (i + 1) / 64, np.float32), 8000, subtype="FLOAT")
        rows.append(f"{i}.wav,number {i}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    ask(section, "load_data", path=str(tmp_path / "list.csv"))
    facts = section.value()["facts"]
    assert facts["labels"] == "texts"
    assert facts["classes"] == []
    assert "Labels column sentence: texts" in facts["reading"]
    samples, _ = ask(section, "data_samples", digest=facts["digest"])
    assert all(f"{(int(s['label'].split()[1]) + 1) / 64:.4g}" == s["cells"][0] for s in samples)
    assert "dk.Dataset.from_audio(" in inputs_script(commands.state)


def test_it_says_what_the_data_can_tell(section, commands):
    use(commands, labelled(1500))
    words = "540 samples give about ± 1.2 pp: a limit of 1.0 pp cannot be settled. Add samples or raise the limit."
    assert section.value()["resolution"] == {"words": words, "enough": False}
    use(commands, commands.state.data, goal=Goal(max_drop=0.02))
    assert section.value()["resolution"] == {"words": "540 samples can resolve 1.19 pp.", "enough": True}
    use(commands, dk.Dataset.from_arrays(np.zeros((50, 4), np.float32)))
    words = section.value()["resolution"]["words"]
    assert words == "No labels: agreement with the original model is measured instead of accuracy."


@pytest.mark.parametrize("labels", [[10**9, 3], [-1, 1], []])
def test_whole_numbers_that_cannot_be_classes_are_amounts(labels):
    labels = np.array(labels * 20, np.int64)
    data = dk.Dataset.from_arrays(np.zeros((40, 2), np.float32), np.arange(40) % 2, classes=("no", "yes"))
    split = dataclasses.replace(data.splits["evaluation"], labels=labels)
    assert samples.class_counts(dataclasses.replace(data, splits={**data.splits, "evaluation": split})) == []
    assert samples.class_name(data, np.int64(-1)) == "-1"


def test_classes_are_balanced_or_not():
    assert balance([("a", 30), ("b", 30)])["words"] == "Balanced: 30 examples of each class."
    assert balance([("a", 20), ("b", 30)])["words"] == "Balanced: 20 to 30 examples of each class."
    assert balance([("a", 10), ("b", 30), ("c", 20)]) == {
        "words": "Not balanced: class b has 30 examples, a has 10.", "even": False,
    }  # fmt: skip
    assert balance([])["words"] == ""


def test_the_code_names_the_variables():
    state = State(Path("runs"))
    state.data_name = "x_test, y_test"
    assert "data = dk.Dataset.from_arrays(x_test, y_test)" in script(state)
    state.data_name = "held_out"
    assert "data = held_out" in script(state)


def test_what_a_vision_model_takes_can_be_typed_and_is_in_the_code(section, ask, commands, tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "photos.npz"
    np.savez(path, x=rng.integers(0, 255, (100, 8, 6, 3), np.uint8), labels=np.arange(100) % 4, spare=np.zeros(3))
    typed = {"scale": "1/255", "mean": "0.5, 0.25, 0.1", "std": "0.5", "layout": "channels_first"}
    ask(section, "load_data", path=str(path), **typed)
    wanted = dk.Preprocess(scale=1 / 255, mean=(0.5, 0.25, 0.1), std=0.5, layout="channels_first")
    assert commands.state.data.preprocess["input"] == wanted
    value = section.value()
    assert {name: value[name] for name in ("mean", "std", "layout", "reshape")} == {
        "mean": "0.5, 0.25, 0.1", "std": "0.5", "layout": "channels_first", "reshape": "",
    }  # fmt: skip
    assert value["facts"]["reading"] == [
        "Input from array x: uint8, 8x6x3", "Labels array labels: class indices",
        "Left out: array spare (3,): not an input and not labels",
    ]  # fmt: skip
    made = {}
    exec(inputs_script(commands.state).replace("import deploykit as dk", ""), {"dk": dk}, made)
    assert made["data"].digest == commands.state.data.digest
    with pytest.raises(SettingError, match="mean must be numbers separated by commas"):
        ask(section, "load_data", path=str(path), mean="a")
    with pytest.raises(SettingError, match="Unknown value for Preprocess: layout"):
        ask(section, "load_data", path=str(path), layout="sideways")


def test_settings_without_a_field_stay_while_the_path_does(section, ask, commands, tmp_path):
    path = tmp_path / "photos.npz"
    np.savez(path, x=np.zeros((60, 8, 6, 3), np.uint8), y=np.arange(60) % 4)
    source = source_of(str(path), dk.Preprocess(channels="reversed", scale=2))
    commands.desk.post(lambda: commands.load_data(source))
    assert commands.desk.settle()
    ask(section, "load_data", path=str(path), scale="3")
    assert commands.state.data.preprocess["input"] == dk.Preprocess(channels="reversed", scale=3)


TUTORIAL = Path(__file__).parents[3] / "notebooks"


def planned(commands, section):
    """The section's word on what everything is taken to mean, once the plan is there."""
    assert commands.desk.settle()
    assert commands.state.problems.get("data", "") == ""
    return section.value()["meaning"]


@pytest.fixture
def mistaken(commands, monkeypatch, tmp_path):
    """The tutorial's model, and its data without their scale, as the notebook's variable ``data``."""
    data = dk.Dataset.from_npz(TUTORIAL / "data" / "fashion-mnist.npz", preprocess=dk.Preprocess(reshape=(28, 28, 1)))
    model = dk.load(TUTORIAL / "models" / "fashion_cnn.onnx")
    use(commands, data, model=model, data_name="data", space=dk.Space.preset("quick"))
    return data


def test_what_is_mistaken_is_put_right_with_one_click(section, ask, commands, mistaken, tab):
    found = planned(commands, section)
    assert not found["ok"]
    assert [
        found["lines"][0][0], found["lines"][0][1].split(" from")[0]
    ] == ["Input", "image: float32 (? × 28 × 28 × 1)"]  # fmt: skip
    (suspicion,) = found["suspicions"]
    assert suspicion["remedy"] == ""  # the button does it
    assert suspicion["label"] == "Scale by 1/255"
    assert "Scale 1/255" in suspicion["text"]  # as the field is called on screen
    assert (tab("data")["done"], tab("data")["wrong"]) == (False, True)
    ask(section, "apply_remedy", place=0)
    after = planned(commands, section)
    assert after["ok"]
    assert not after["suspicions"]
    (step,) = commands.state.data.preprocess.values()
    assert step.scale == pytest.approx(1 / 255)
    assert step.reshape == (28, 28, 1)
    code = inputs_script(commands.state)
    made = {"dk": dk, "data": mistaken}
    line = next(line for line in code.splitlines() if line.startswith("data = "))
    exec(line, made)  # what the panel shows does what the panel did
    assert made["data"].digest == commands.state.data.digest


def test_data_of_another_shape_are_reshaped_with_one_click(section, ask, commands, tab):
    data = dk.Dataset.from_npz(TUTORIAL / "data" / "fashion-mnist.npz", preprocess=dk.Preprocess(scale=1 / 255))
    model = dk.load(TUTORIAL / "models" / "fashion_cnn.onnx")
    use(commands, data, model=model, data_name="data", space=dk.Space.preset("quick"))
    found = planned(commands, section)
    assert found["lines"] == []
    assert "takes examples of shape (28, 28, 1), the data give (28, 28)" in found["warnings"][0]
    assert "Preprocess(" not in str(found)
    (remedy,) = found["suspicions"]
    assert remedy["label"] == "Reshape to 28 × 28 × 1"
    assert not tab("model")["done"]
    ask(section, "apply_remedy", place=0)
    assert planned(commands, section)["ok"]
    assert commands.state.data.preprocess["input"] == dk.Preprocess(scale=1 / 255, reshape=(28, 28, 1))
    assert tab("model")["done"]


def test_another_output_is_scored_with_one_click_and_forgotten_with_its_model(section, ask, commands, tmp_path):
    x, y, _ = variants.tutorial()
    data = dk.Dataset.from_arrays(x, y, preprocess=dk.Preprocess(scale=1 / 255, reshape=(28, 28, 1)))
    model = variants.save(tmp_path, "two", variants.two_outputs())
    use(commands, data, model=model, data_name="data", space=dk.Space.preset("quick"))
    remedy = planned(commands, section)["suspicions"][0]  # the labels could be in another order as well
    assert (remedy["label"], remedy["remedy"]) == ('Score output "class"', "")
    ask(section, "apply_remedy", place=0)
    after = planned(commands, section)
    assert after["ok"]
    assert not after["suspicions"]
    assert commands.state.plan.contract.scored.name == "class"
    assert 'output="class"' in script(commands.state)
    commands.desk.post(lambda: commands.load_model(TUTORIAL / "models" / "fashion_cnn.onnx"))
    assert planned(commands, section)["ok"]
    assert commands.state.declared == {}  # it was said of the other model


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("leave out scale= and mean=: they make real numbers.", "leave out Scale and Mean: they make real numbers."),
        ("correct reshape= (--reshape).", "correct Reshape."),
        ("90 % with reshape=(28, 28, 1).", "90 % with Reshape 28 × 28 × 1."),
        ("52 % with output='class' (--output class).", '52 % with output "class".'),
        ('better with layout="channels_first", 8 % before', "better with Layout channels first, 8 % before"),
    ],
)
def test_messages_name_the_fields_on_screen(words, shown):
    assert on_screen(words) == shown


def test_a_remedy_that_is_not_there_changes_nothing(section, ask, commands, mistaken):
    planned(commands, section)
    ask(section, "apply_remedy", place=7)
    assert commands.state.data is mistaken


def test_examples_are_counted_as_the_sweep_splits_them(section, commands, zoo):
    """Nothing trains an int8 TFLite model: its training examples beyond calibration compare candidates."""
    rng = np.random.default_rng(0)
    data = dk.Dataset.from_arrays(rng.random((1000, 8, 8, 1), np.float32), rng.integers(0, 3, 1000))
    use(commands, data)
    sizes = {name: len(split) for name, split in data.splits.items()}
    assert {s["name"]: s["count"] for s in section.value()["facts"]["splits"]} == sizes
    plan = dk.plan(dk.load(zoo("cnn_int8_tflite")), data, "quick")
    use(commands, data, plan=plan)
    shown = {s["name"]: s["count"] for s in section.value()["facts"]["splits"]}
    assert shown["train"] == data.calibration_size < sizes["train"]
    assert sum(shown.values()) == 1000
    assert shown["evaluation"] == plan.evaluation_examples > sizes["evaluation"]


def test_inputs_are_synthesized_added_to_the_data_and_left_out_again(section, ask, commands, tmp_path):
    model = dk.load(tiny.build("cnn_onnx", tmp_path))
    rng = np.random.default_rng(0)
    arrays = (rng.random((60, 1, 8, 8), np.float32), rng.integers(0, 3, 60))
    given = dk.Dataset.from_arrays(*arrays)
    with pytest.raises(SettingError, match="smaller one first"):
        ask(section, "synthesize", between="1, 0")
    with pytest.raises(SettingError, match="steps"):
        ask(section, "synthesize", method="generator", examples="16", steps="none")
    ask(section, "synthesize", method="generator", examples="16", steps="2")
    assert "Load a model first" in commands.state.problems["data"]
    use(commands, given, model=model, data_name="data", options={"seed": 3})
    ask(section, "synthesize", method="generator", examples="16", steps="2")
    assert commands.state.problems.get("data", "") == ""
    settings = {"method": "generator", "examples": 16, "steps": 2}
    wanted = dk.synthesize(model, dk.Dataset.from_arrays(*arrays), **settings, seed=3, progress=lambda _: None)
    assert commands.state.data.digest == wanted.digest
    value = section.value()
    assert value["synthesis"]["used"]
    assert not value["synthesis"]["alone"]
    assert [s["value"] for s in value["synthesis"]["settings"]] == ["generator", "16", "2", ""]
    assert {s["name"]: s["count"] for s in value["facts"]["splits"]}["train"] == 16
    line = 'data = dk.synthesize(model, data, method="generator", examples=16, steps=2, seed=3)'
    assert line in inputs_script(commands.state).splitlines()

    ask(section, "leave_out_synthesized")
    assert commands.state.data is given
    assert "dk.synthesize" not in inputs_script(commands.state)


def test_without_data_synthesized_inputs_evaluate_as_well(section, ask, commands, tmp_path):
    model = dk.load(tiny.build("cnn_onnx", tmp_path))
    commands.desk.post(lambda: commands.state.change(model=model))
    ask(section, "synthesize", method="generator", examples="16", steps="2", between="-1/2, 1")
    value = section.value()
    assert value["synthesis"]["alone"]
    made = commands.state.data.splits["train"].inputs["image"]
    assert (-0.5 <= made.min() < 0) & (made.max() <= 1)
    assert value["facts"]["labels"] == "none"
    assert (
        'data = dk.synthesize(model, method="generator", examples=16, steps=2, between=[-0.5, 1.0])'
        in inputs_script(commands.state)
    )
    commands.desk.post(lambda: commands.load_model(tiny.build("matmul_onnx", tmp_path)))
    assert commands.desk.settle()
    assert commands.state.data is None  # they were made from the other model
    assert not section.value()["synthesis"]["used"]
