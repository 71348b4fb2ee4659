"""The code of the layout `edge` prepares examples as deploykit does; `make proof` runs it in the engines."""

import array
import json
import shutil
import subprocess

import numpy as np
import pytest
from onnxruntime.tools.reduced_build_config_parser import parse_config

from deploykit.artifacts.arrays import load_arrays
from deploykit.core import extras
from deploykit.core.errors import ExportError
from deploykit.data.dataset import Dataset
from deploykit.data.preprocess import Preprocess
from deploykit.exporters._contract import EXPORTERS
from deploykit.exporters._edge.cpp import CPP
from deploykit.exporters._edge.flavor import filled
from deploykit.exporters._edge.javascript import JAVASCRIPT
from deploykit.exporters._edge.micropython import MICROPYTHON
from deploykit.exporters._edge.tensors import Fed, Given, Tensors, _fed
from deploykit.exporters._export import export
from deploykit.testing.exporters import exportable
from deploykit.testing.graphs import carrying, exported, graph, node, value

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (3, 6, 4)).astype(np.uint8)
COLORS = RNG.integers(0, 256, (3, 6, 4, 3)).astype(np.uint8)
NUMBERS = RNG.normal(size=(3, 10))
#: Preprocessing, raw examples, what the file takes, its scale and zero point.
CASES = {
    "nothing": (Preprocess(), NUMBERS.astype(np.float32), "float32", 0.0, 0),
    "whole numbers": (Preprocess(), RNG.integers(-(2**62), 2**62, (3, 5)), "int64", 0.0, 0),
    "reshaped": (Preprocess(scale=1 / 255, reshape=(1, 6, 4)), GRAY, "float32", 0.0, 0),
    "scaled and shifted": (Preprocess(scale=1 / 127.5, offset=-1.0), GRAY, "float32", 0.0, 0),
    "double": (Preprocess(mean=0.3, std=1.7), NUMBERS, "float64", 0.0, 0),
    "by channel": (
        Preprocess(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), layout="channels_first"),
        COLORS, "float32", 0.0, 0,
    ),
    "reversed": (Preprocess(channels="reversed", mean=(103.9, 116.8, 123.7)), COLORS, "float32", 0.0, 0),
    "transposed": (Preprocess(transpose=(1, 0, 2), scale=2.0), COLORS, "float32", 0.0, 0),
    "resized": (Preprocess(resize=(3, 2), scale=1 / 255, layout="channels_first"), COLORS, "float32", 0.0, 0),
    "quantized": (Preprocess(scale=1 / 255), GRAY, "int8", 0.0039215686, -128),
    "halves": (Preprocess(), np.arange(-6, 6, dtype=np.float32)[None] / 2, "int8", 1.0, 3),
    "clipped": (Preprocess(), NUMBERS.astype(np.float32), "uint8", 0.004, 100),
}  # fmt: skip


def wanted(case):
    """What a session gives the file."""
    step, raw, dtype, scale, zero = CASES[case]
    value = step.apply(raw)
    if scale:
        info = np.iinfo(dtype)
        value = np.clip(np.rint(value.astype(np.float32) / np.float32(scale)) + zero, info.min, info.max)
    return np.ascontiguousarray(value, dtype)


@pytest.fixture(scope="module")
def prepared():
    """For each case the input as the code is written from it, and the raw examples the code gets."""
    found = {}
    for case, (step, raw, dtype, scale, zero) in CASES.items():
        base = Fed("in", "there", dtype, (1, *wanted(case).shape[1:]), scale=scale, zero_point=zero)
        found[case] = _fed(base, step, raw)
    return found


def renumbered(found):
    return Tensors(tuple(fed for fed, _ in found.values()), (Given("out", "out", 0, "int8", (1,), 0.5, -3),), (), ())


def test_javascript_prepares_as_deploykit_does(prepared, tmp_path):
    (tmp_path / "model.mjs").write_text(JAVASCRIPT.code(renumbered(prepared)), "utf-8")
    asked = {}
    for number, (fed, raw) in enumerate(prepared.values()):
        (tmp_path / f"{number}.bin").write_bytes(raw.tobytes())
        asked[number] = [JAVASCRIPT.types[fed.raw_dtype], raw[0].size]
    (tmp_path / "run.mjs").write_text(
        "import * as model from './model.mjs'; import { readFileSync, writeFileSync } from 'node:fs';\n"
        f"for (const [n, [type, count]] of Object.entries({json.dumps(asked)})) {{\n"
        "  const all = new globalThis[type](new Uint8Array(readFileSync(`${n}.bin`)).buffer), parts = [];\n"
        "  for (let at = 0; at < all.length; at += count)\n"
        "    parts.push(Buffer.from(model[`prepare${n}`](all.slice(at, at + count)).buffer));\n"
        "  writeFileSync(`${n}.out`, Buffer.concat(parts));\n"
        "}\n"
        "console.log(model.real0(5));\n"
    )
    done = subprocess.run(["node", "run.mjs"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert float(done.stdout) == 4.0
    for number, case in enumerate(prepared):
        found = np.frombuffer((tmp_path / f"{number}.out").read_bytes(), wanted(case).dtype)
        np.testing.assert_array_equal(found, wanted(case).ravel(), case)


def test_cpp_prepares_as_deploykit_does(prepared, tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    code = CPP.code(renumbered(prepared))
    (tmp_path / "model.h").write_text(filled("model.h", {"FACTS": "", "CODE": code, "NAME": "cases"}), "utf-8")
    lines = []
    for number, (fed, raw) in enumerate(prepared.values()):
        (tmp_path / f"{number}.bin").write_bytes(raw.tobytes())
        sizes = f"{CPP.types[fed.raw_dtype]}, {CPP.types[fed.dtype]}, {raw.size}, {raw[0].size}, {fed.count}"
        lines.append(f'run<{sizes}>("{number}", model::Prepare{number});')
    (tmp_path / "main.cpp").write_text(
        '#include <fstream>\n#include <string>\n#include <vector>\n#include "model.h"\n'
        "template <class R, class T, size_t all, size_t in, size_t out>\n"
        "void run(std::string name, void (*prepare)(const R*, T*)) {\n"
        "  std::vector<R> raw(all); std::vector<T> made(all / in * out);\n"
        '  std::ifstream(name + ".bin", std::ios::binary).read((char*)raw.data(), all * sizeof(R));\n'
        "  for (size_t n = 0; n < all / in; ++n) prepare(&raw[n * in], &made[n * out]);\n"
        '  std::ofstream(name + ".out", std::ios::binary).write((char*)made.data(), made.size() * sizeof(T));\n'
        "}\n"
        f"int main() {{ {' '.join(lines)} return model::Real0(5) == 4.0f ? 0 : 1; }}\n"
    )
    command = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "main.cpp", "-o", "run"]
    subprocess.run(command, cwd=tmp_path, check=True)
    subprocess.run([tmp_path / "run"], cwd=tmp_path, check=True)
    for number, case in enumerate(prepared):
        found = np.frombuffer((tmp_path / f"{number}.out").read_bytes(), wanted(case).dtype)
        np.testing.assert_array_equal(found, wanted(case).ravel(), case)


def test_micropython_prepares_as_deploykit_does(prepared):
    """In Python, whose language MicroPython's is a part of."""
    module = {"array": array}
    exec(MICROPYTHON.code(renumbered(prepared)), module)
    assert module["real0"](5) == 4.0
    for number, (case, (_, raw)) in enumerate(prepared.items()):
        for example, expected in zip(raw, wanted(case), strict=True):
            found = np.array(module[f"prepare{number}"](example.ravel().tolist()))
            # Python computes in double precision, whose quotients may round to the next step.
            atol = 1 if case in ("quantized", "clipped") else 1e-5
            np.testing.assert_allclose(found, expected.ravel(), rtol=1e-5, atol=atol, err_msg=case)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """left (batch, 4) float32, right (batch, 6) int64 → score (batch, 1), label (batch, 3)."""
    folder = tmp_path_factory.mktemp("two")
    return export(exportable("two_inputs_onnx", folder), folder / "out", layout="edge", name="two")


@pytest.mark.proves("edge", "schema", by="ONNX Runtime's parser of reduced builds")
def test_a_reduced_build_is_told_what_it_needs(two):
    needed, _ = parse_config(str(two.path / "required_operators.config"), False)
    assert {"Cast", "Concat", "MatMul", "Softmax"} <= needed["ai.onnx"][21]


def test_examples_are_the_golden_data(two):
    inputs, outputs = (load_arrays(two.path / n) for n in (two.manifest.golden_inputs, two.manifest.golden_outputs))
    for side, arrays in (("in", inputs), ("out", outputs)):
        for place, values in enumerate(arrays.values()):
            for number in range(8):
                found = np.frombuffer((two.path / f"examples/{number}-{side}{place}.bin").read_bytes(), values.dtype)
                np.testing.assert_array_equal(found, values[number].ravel())


def test_the_array_in_c_is_the_file(two):
    source = (two.path / "c/model_data.c").read_text("utf-8")
    values = source.partition("model_data[] = {")[2].partition("}")[0]
    assert bytes(map(int, values.split(","))) == two.model_path.read_bytes()


def test_every_language_has_the_files_own_names(two):
    for name in ("cpp/main.cpp", "kotlin/Run.kt", "swift/Run.swift", "javascript/model.mjs"):
        text = (two.path / name).read_text("utf-8")
        assert "%%" not in text
        assert all(f'"{tensor}"' in text for tensor in ("left", "right", "score", "label"))


def test_names_that_must_be_quoted(tmp_path):
    names = ['a "b" ü $x \\', "y%d\n$z"]
    path = graph(
        tmp_path, [node("Softmax", [names[0]], [names[1]])],
        [value(names[0], "float32", "N", 2)], [value(names[1], "float32", "N", 2)],
    )  # fmt: skip
    data = Dataset.from_arrays(RNG.normal(size=(60, 2)).astype(np.float32), [0, 1] * 30, classes=('"$a"', "b\\"))
    artifact = exported(path, data, layout="edge")
    told = "[m.inputs[0].name, m.outputs[0].name, m.classes]"
    shown = f"import('./model.mjs').then((m) => console.log(JSON.stringify({told})))"
    done = subprocess.run(
        ["node", "-e", shown], cwd=artifact.path / "javascript", capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [*names, ['"$a"', "b\\"]]
    if shutil.which("g++"):
        (tmp_path / "main.cpp").write_text('#include "model.h"\n')
        check = ["g++", "-std=c++17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", f"-I{artifact.path / 'cpp'}"]
        subprocess.run([*check, tmp_path / "main.cpp"], check=True)
    kotlin = (artifact.path / "kotlin/Run.kt").read_text("utf-8")
    assert r'"a \"b\" ü \$x \\" to OnnxTensor' in kotlin


def test_sequences_are_refused_by_name(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 7, 4)).astype(np.float32)
    with pytest.raises(ExportError, match="state") as caught:
        exported(carrying(tmp_path), (x, None), layout="edge", state={"next": "state"})
    assert "folder" in caught.value.remedy


def test_text_is_refused_by_name(tmp_path):
    with pytest.raises(ExportError, match="takes string") as caught:
        export(exportable("text_onnx", tmp_path), tmp_path / "out", layout="edge")
    assert "folder" in caught.value.remedy
    assert not (tmp_path / "out").exists()


def test_programs_of_pytorch_take_executorch():
    """tests/proof/test_runtimes.py lowers one and runs it."""
    why = EXPORTERS.get("edge").refuses("pytorch")
    assert ("pip install 'deploykit[executorch]'" in why) is not extras.installed("executorch")
