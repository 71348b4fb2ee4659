"""The page of what techniques buy, from numbers that a run has written down."""

import json

from deploykit.transforms._contract import TRANSFORMS
from docs.tools import buys


def test_the_page_says_what_the_run_has_written_down():
    found = json.loads(buys.RESULT.read_text("utf-8"))
    text = buys.page()
    for name, file in found["files"].items():
        assert f"`{name}` on" in text
        for row in file["rows"]:
            assert not row["techniques"] or f"| {buys.plain(row['label'])} |" in text or row["reason"][:20] in text
    assert "only-light" in text
    assert "only-dark" in text
    assert "times as fast as float32, accuracy" in text  # what the picture shows, in words


def test_numbers_are_relative_to_float32():
    rows = [
        {"label": "half", "techniques": ["x"], "size": 0.5, "compressed": 0.25, "faster": [2.0, 1.9, 2.1],
         "claim": "faster", "drop": [0.012, 0.002, 0.022], "seconds": 3.21, "same_as": ""},
    ]  # fmt: skip
    cells = list(buys._measured(rows[0]))
    assert cells == ["half", "50 %", "25 %", r"2.00× \[1.90, 2.10\]", "−1.20 ± 1.00", "3.2 s"]


def test_refusals_of_one_reason_are_one_line():
    support = [
        {"technique": name, "format": "tflite", "runs": [], "refused": {"It cannot be converted": ["onnxruntime"]}}
        for name in ("distill", "finetune")
    ]
    lines = list(buys._support(support))
    assert "| `distill`, `finetune` | TFLite | ONNX Runtime | It cannot be converted |" in lines
    assert "| `distill` | refused |" in lines


def test_the_run_knows_the_techniques():
    found = json.loads(buys.RESULT.read_text("utf-8"))
    asked = {row["technique"] for row in found["support"]}
    assert asked <= set(TRANSFORMS.names())
    assert "existing_file" not in asked
