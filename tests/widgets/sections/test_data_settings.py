"""Settings that only one kind of data has: their fields, what is typed into them, and the code that reads the same."""

import json
from pathlib import Path

import av
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile
from deploykit_widgets.code.saved_notebook import notebook_of
from deploykit_widgets.code.script import inputs as inputs_script
from deploykit_widgets.data.settings import SETTINGS, as_typed, read_setting
from deploykit_widgets.memory import FILE
from deploykit_widgets.sections.data import DataSection
from deploykit_widgets.workbench import Workbench
from PIL import Image

import deploykit as dk
from deploykit.core.errors import SettingError

TUTORIAL = Path(__file__).parents[3] / "notebooks"


@pytest.fixture
def section(commands):
    return DataSection(commands)


@pytest.fixture
def load(section, ask, commands):
    """Load as the browser does; gives the data, which the code on screen has read again."""

    def do(path, **typed):
        ask(section, "load_data", path=str(path), scale="", **typed)
        assert commands.state.problems.get("data", "") == ""
        made = {"dk": dk}
        exec(inputs_script(commands.state).replace("import deploykit as dk", ""), made)
        assert made["data"].digest == commands.state.data.digest
        return commands.state.data

    return do


@pytest.fixture
def names(section, ask):
    return lambda path, file="": [
        f["name"] for f in ask(section, "data_fields", path=str(path), file=file)[0]["fields"]
    ]


def _videos(folder, frames=21):
    for i in range(18):
        path = folder / ("even", "odd")[i % 2] / f"{i}.mkv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as file:
            stream = file.add_stream("ffv1", rate=10)
            stream.height, stream.width, stream.pix_fmt = 8, 8, "bgr0"
            for k in range(frames):
                picture = np.full((8, 8, 3), 8 * i + k, np.uint8)
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            file.mux(stream.encode())
    return folder


def _table(path):
    rows = 60
    columns = {
        "id": list(range(rows)),
        "said": [f"word {i}" for i in range(rows)],
        "mood": [i % 2 for i in range(rows)],
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def test_videos_have_frames_per_second(section, load, names, tmp_path):
    folder = _videos(tmp_path / "clips")
    assert names(folder) == ["per_second", "classes"]
    assert len(load(folder)) == 18 * 3
    data = load(folder, per_second="2", classes="odd, even")
    assert len(data) == 18 * 5  # two seconds of video: the first frame, and one for each half second
    assert data.classes == ("odd", "even")
    assert section.value()["settings"] == {"per_second": "2", "classes": "odd, even"}
    assert len(load(folder, per_second="1/2")) == 18 * 2
    assert section.value()["settings"]["per_second"] == "1/2"
    assert section.value()["settings"]["classes"] == "odd, even"  # a field that was not sent stays
    assert len(load(folder, per_second="")) == 18 * 3


def test_recordings_have_a_rate(load, names, tmp_path):
    for i in range(30):
        path = tmp_path / ("high", "low")[i % 2] / f"{i}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.full(800, (i + 1) / 64, np.float32), 8000, subtype="FLOAT")
    assert names(tmp_path) == ["rate", "classes"]
    assert load(tmp_path).sample(1).shape == (1, 800)
    assert load(tmp_path, rate="4000").sample(1).shape == (1, 400)


def test_masks_have_colors(section, ask, commands, load, names, tmp_path):
    table = np.array([(0, 0, 0), (255, 0, 0)], np.uint8)
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for i in range(40):
        values = np.zeros((6, 4), np.uint8)
        values[i % 6 :] = 1
        Image.fromarray(values * 200).save(tmp_path / "images" / f"{i}.png")
        Image.fromarray(table[values]).save(tmp_path / "masks" / f"{i}.png")
    assert names(tmp_path) == ["colors", "classes"]
    ask(section, "load_data", path=str(tmp_path))
    assert "colors=" not in commands.state.problems["data"]
    assert "Colors" in commands.state.problems["data"]  # as the field is called
    data = load(tmp_path, colors="#000000=0, #FF0000 = 1", classes="sky, road")
    x = data.splits["evaluation"].inputs["input"][..., 0]
    np.testing.assert_array_equal(data.labels(), x // 200)
    assert section.value()["settings"] == {"colors": "#000000=0, #ff0000=1", "classes": "sky, road"}


def test_tables_have_columns(section, ask, commands, load, names, tmp_path):
    path = _table(tmp_path / "answers.parquet")
    assert names(path) == ["text", "label", "drop", "classes"]
    ask(section, "load_data", path=str(path), text="sad")
    assert "has no column 'sad'; it has id, said, mood" in commands.state.problems["data"]
    assert "correct Text column" in commands.state.problems["data"]
    data = load(path, text="said", label="mood", drop="id", classes="bad, good")
    assert set(data.splits["evaluation"].inputs["text"].tolist()) <= {f"word {i}" for i in range(60)}
    assert data.classes == ("bad", "good")
    assert load(path, text="said", label='""', classes="").labels() is None


def test_a_csv_table_is_numbers_or_text(load, names, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("width,note,answer\n" + "\n".join(f"{i},3,{('no', 'yes')[i % 2]}" for i in range(60)))
    assert names(path) == ["file", "text", "label", "drop", "classes"]
    assert load(path, label="answer", drop="note").sample(1).shape == (1, 1)
    read = load(path, text="answer", label="note", drop="")
    assert set(read.splits["evaluation"].inputs["text"].tolist()) == {"no", "yes"}


def test_a_column_of_files_makes_a_table_one_of_recordings(load, names, tmp_path):
    rows = ["sound,kind"]
    for i in range(30):
        soundfile.write(tmp_path / f"{i}.wav", np.full(80, (i + 1) / 64, np.float32), 8000, subtype="FLOAT")
        rows.append(f"{i}.wav,{'ab'[i % 2]}")
    path = tmp_path / "list.csv"
    path.write_text("\n".join(rows))
    assert "rate" not in names(path)
    assert names(path, "sound") == ["file", "text", "label", "rate", "classes"]
    assert load(path, file="sound", label="kind", rate="4000").sample(1).shape == (1, 40)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("x.npz", ["classes"]), ("x.json", []), ("x.txt", ["classes"]), ("", [])],
)
def test_other_data_have_no_fields_they_do_not_take(names, name, shown):
    assert names(name) == shown


def test_fields_of_another_path_that_are_still_on_screen_are_left_out(load, tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros((60, 3), np.float32), y=np.arange(60) % 2)
    data = load(tmp_path / "x.npz", per_second="2", colors="", classes="no, yes")
    assert data.classes == ("no", "yes")


@pytest.mark.parametrize(
    ("name", "typed", "said"),
    [
        ("per_second", "0", r"^Frames per second must be a number above 0, such as 2 or 1/2, got '0'\.$"),
        ("per_second", "1/0", "Frames per second must be"),
        ("per_second", "nan", "Frames per second must be"),
        ("rate", "8 kHz", r"^Rate, Hz must be a whole number from 1 on, such as 16000, got '8 kHz'\.$"),
        ("rate", "0", "Rate, Hz must be"),
        ("colors", "red=1", r"^Colors must be #RRGGBB=NUMBER, separated by commas, got 'red=1'\.$"),
        ("colors", "#ff0000", "Colors must be"),
        ("colors", "#ff0000=0, #FF0000=1", "Colors must name each color once, '#FF0000' is there twice"),
        ("classes", "cat, dog, cat", r"^Classes must name each one once, 'cat' is there twice\.$"),
        ("classes", "cat,, dog", r"^Classes must be names separated by commas, got 'cat,, dog'\.$"),
        ("text", "a, b, c", "Text column must be one column, or two of pairs of texts, got 3"),
        ("frames", "2", "frames"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_at_its_field(section, ask, name, typed, said):
    with pytest.raises(SettingError, match=said):
        ask(section, "check_setting", name=name, text=typed)


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("per_second", "1/3", 1 / 3), ("per_second", "2.5", 2.5), ("rate", "16000", 16000), ("file", "a, b", "a, b"),
        ("label", '""', ""), ("text", "a", "a"), ("text", "a, b", ["a", "b"]), ("drop", "id", ["id"]),
        ("classes", '"salt, pepper", none', ["salt, pepper", "none"]), ("colors", "#0000ff=3", {"#0000ff": 3}),
    ],
)  # fmt: skip
def test_what_is_typed_is_written_again_as_it_was(name, typed, value):
    assert read_setting(name, typed) == value
    assert as_typed({name: value}) == {name: typed}
    assert read_setting(name, "  ") is None
    assert set(as_typed({name: value})) < set(SETTINGS)


def test_they_are_kept_with_the_store_and_are_parameters_of_a_notebook(tmp_path):
    folder = _videos(tmp_path / "clips")

    def opened():
        bench = Workbench(TUTORIAL / "models" / "fashion_cnn.onnx", store=tmp_path / "runs", launches=2)
        assert bench._desk.settle()
        return bench

    bench = opened()
    load = bench._sections["data"].commands()["load_data"]
    bench._desk.post(lambda: load(path=str(folder), per_second="2", classes="odd, even"))
    assert bench._desk.settle()
    digest = bench._state.data.digest
    notebook = json.loads(notebook_of(bench._state, tmp_path / "saved.ipynb"))
    parameters, work = ("".join(cell["source"]) for cell in notebook["cells"][1:3])
    assert "per_second: float = 2.0" in parameters
    assert 'dk.Dataset.from_video(data_path, per_second=per_second, classes=["odd", "even"])' in work
    bench.close()
    written = json.loads((tmp_path / "runs" / FILE).read_text("utf-8"))
    assert written["data"]["settings"] == {"per_second": 2.0, "classes": ["odd", "even"]}
    again = opened()
    assert again._state.data.digest == digest
    assert again._sections["data"].value()["settings"] == {"per_second": "2", "classes": "odd, even"}
    again.close()
