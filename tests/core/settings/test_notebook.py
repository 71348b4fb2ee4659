"""Parameters of notebooks: declared, given by papermill, and of the right type."""

import pytest

from deploykit.core.errors import SettingError
from deploykit.core.settings.notebook import check_parameters, checked, constants, declared, fits, from_text

CELL = 'model_path: str = "m.onnx"\nmax_drop: float = 0.01  # a share\nlaunches: int = 10\nnote = "a = b"\n'
VALUES = {"model_path": "m.onnx", "max_drop": 0.01, "launches": 10, "note": "", "other": 1}
CHECK = "import deploykit as dk\n\ndk.check_parameters()"


def test_what_a_cell_declares():
    assert declared(CELL) == {"model_path": "str", "max_drop": "float", "launches": "int", "note": ""}
    assert declared("a = b = 1\n(c, d) = 2, 3\ne = 4  # type: int\nf: 'int | None' = None\nx.y = 1") == {
        "a": "", "b": "", "c": "", "d": "", "e": "int", "f": "'int | None'",
    }  # fmt: skip
    assert declared("%%bash\nls") == {}
    assert constants(CELL + "half: float = 1 / 2\nsize: int") == {
        "model_path": "m.onnx", "max_drop": 0.01, "launches": 10, "note": "a = b",
    }  # fmt: skip
    assert constants("a = -1\nb = [1, {}]\nc = d") == {"a": -1, "b": [1, {}]}


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        ("int", [3, -1], [3.0, True, "3", None]),
        ("float", [3, 0.5, float("nan")], [True, "0.5", None]),
        ("bool", [True], [1, "true"]),
        ("str", ["x", ""], [5, None]),
        ("list[int]", [[1], ()], ["[1]", {}]),
        ("dict[str, int]", [{}], [[]]),
        ("int | None", [None, 1], ["None"]),
        ("Optional[str]", [None, "x"], [1]),
        ("typing.Union[int, str]", [1, "x"], [None, 0.5]),
        ("'float | None'", [None, 1], ["x"]),
        ("Path", [1, None, "x"], []),
        ("int | Path", [None], []),
        ("", [object()], []),
    ],
)
def test_values_and_annotations(annotation, good, bad):
    assert all(fits(value, annotation) for value in good)
    assert not any(fits(value, annotation) for value in bad)


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("3", "int", 3),
        ("3", "float", 3.0),
        ("1/4", "float", 0.25),
        ("5", "str", "5"),
        ("None", "str | None", None),
        ("5", "str | None", "5"),
        ("TRUE", "bool", True),
        ("0", "bool", False),
        ("[1, a]", "list", [1, "a"]),
        ("{a: 1}", "dict[str, int]", {"a": 1}),
        ("3", "", 3),
        ("0.5", "Path", "0.5"),
        ("nan", "str", "nan"),
        ("True", "", True),
        ("true", "", "true"),
        ("None", "", None),
        ("-1e-3", "", -1e-3),
        ("1/2", "", "1/2"),
        ("nan", "", "nan"),
        ("007", "", "007"),
        ("[1]", "", "[1]"),
    ],
)
def test_text_becomes_what_is_declared(text, annotation, value):
    found = from_text("p", text, annotation)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "annotation"),
    [("many", "int"), ("0.5", "int"), ("1/0", "float"), ("perhaps", "bool"), ("a: b: c", "dict"), ("x", "list[int]"),
     ("x", "int | None")],
)  # fmt: skip
def test_text_of_another_type_is_refused(text, annotation):
    with pytest.raises(SettingError, match=r"The parameter 'p' is declared as .*, got '"):
        from_text("p", text, annotation)


@pytest.mark.parametrize(
    ("text", "annotation", "default", "value"),
    [
        ("1/2", "", "a/b", "1/2"),
        ("007", "", "001", "007"),
        ("5", "Path", "x", "5"),
        ("5", "", 1, 5),
        ("0.5", "", 1, 0.5),
        ("5", "", 0.5, 5.0),
        ("true", "", False, True),
        ("[1, 2]", "", [], [1, 2]),
        ("1/2", "float", 0.5, 0.5),
        ("7", "", None, 7),
    ],
)
def test_text_is_of_the_default_s_type_where_none_is_declared(text, annotation, default, value):
    found = from_text("p", text, annotation, default)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(("text", "default"), [("many", 1), ("1/2", 0.5), ("perhaps", True), ("x: y: z", {})])
def test_text_of_another_type_than_the_default_is_refused(text, default):
    with pytest.raises(SettingError, match=r"The parameter 'p' has the default .*, got '"):
        from_text("p", text, "", default)


def test_without_papermill_the_cell_itself_is_checked():
    history = ["", "%load_ext x", CELL, "import numpy as np"]
    assert checked(history, VALUES) == {name: VALUES[name] for name in declared(CELL)}
    with pytest.raises(SettingError, match=r"'launches' is declared as int, got 'ten'.*such as 10"):
        checked(history, VALUES | {"launches": "ten"})


def test_what_papermill_adds_must_be_declared():
    history = ["", CELL, "# Parameters\nlaunches = 2\nmax_drop = 0.5\n"]
    assert checked(history, VALUES)["launches"] == 10
    with pytest.raises(SettingError, match=r"Unknown parameter of this notebook 'lanches'.*did you mean 'launches'"):
        checked([*history[:2], "# Parameters\nlanches = 2\n"], VALUES)


def test_text_that_papermill_took_for_a_number():
    with pytest.raises(SettingError, match=r"'model_path' is declared as str, got 5.*-r model_path VALUE"):
        checked(["", CELL, "# Parameters\nmodel_path = 5\n"], VALUES | {"model_path": 5})


def test_a_cell_without_types_is_compared_by_name():
    history = ["", "import os", "alpha = 1\nroot = os.getcwd()", "# Parameters\nalhpa = 2"]
    with pytest.raises(SettingError, match="'alhpa'"):
        checked(history, {})


def test_a_parameters_cell_that_begins_as_papermills_do():
    mine = f"# Parameters\n{CELL}"
    assert checked(["", "x = 1", mine], VALUES)
    assert checked(["", "import os", "# Parameters\nalpha = 1"], {"alpha": 1}) == {}
    with pytest.raises(SettingError, match="'beta'"):
        checked(["", mine, "# Parameters\nbeta = 1"], VALUES)


def test_the_latest_run_of_the_cells_counts():
    """Whoever opens the executed notebook, takes the typo out and runs it again."""
    bad = ["", CELL, "# Parameters\nlanches = 2", CHECK]
    assert checked([*bad, CELL], VALUES)
    assert checked([*bad, CELL, "# Parameters\nlaunches = 2"], VALUES)
    with pytest.raises(SettingError, match="'lanches'"):
        checked([*bad, "1 + 1"], VALUES)


def test_outside_of_a_notebook_there_is_nothing_to_check():
    assert check_parameters() == {}
