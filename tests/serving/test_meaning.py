"""What clients mean arrives at the model: names, numbers, text, free sizes, lone examples and fresh state."""

import base64
import json

import numpy as np
import pytest

import deploykit as dk
from deploykit.artifacts.arrays import load_arrays, save_arrays
from deploykit.artifacts.artifact import Artifact
from deploykit.core.digest import file_digest
from deploykit.core.errors import RequestError, ServeError
from deploykit.exporters._verify import verify
from deploykit.serving._serve import serve
from deploykit.serving.dataplane import DataPlane
from deploykit.testing.graphs import carrying, exported, graph, node, value


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Servers of small graphs, by a name, started once."""
    found = {}

    def get(name, make):
        if name not in found:
            found[name] = serve(make(tmp_path_factory.mktemp("served")), port=0)
        return found[name]

    yield get
    for server in found.values():
        server.stop()


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def doubling(dtype):
    """x (N, 4) → 2 x."""

    def make(folder):
        nodes = [node("Add", ["x", "x"], ["y"])]
        path = graph(folder, nodes, [value("x", dtype, "N", 4)], [value("y", dtype, "N", 4)])
        return exported(path, (np.arange(240).reshape(60, 4) % 9, None))

    return make


def giving(dtype):
    """x (N, 2) → x."""

    def make(folder):
        path = graph(folder, [node("Identity", ["x"], ["y"])], [value("x", dtype, "N", 2)], [value("y", dtype, "N", 2)])
        data = np.array([["a", "b"]] * 60) if dtype == "string" else np.arange(120).reshape(60, 2) % 2 == 0
        return exported(path, (data, None))

    return make


def predicted(ask, server, rows):
    body = rows if isinstance(rows, bytes) else {"instances": rows}
    return ask(server, "POST", f"/v1/models/{server.name}:predict", body)


def inferred(ask, server, wire, data, blob=None, **message):
    """One row over the protocol v2: as JSON, or as binary data."""
    tensor = {"name": "x", "shape": [1, len(data)], "datatype": wire}
    path = f"/v2/models/{server.name}/infer"
    if blob is None:
        return ask(server, "POST", path, {"inputs": [{**tensor, "data": data}], **message})
    tensor["parameters"] = {"binary_data_size": len(blob)}
    head = json.dumps({"inputs": [tensor], **message}).encode()
    return ask(server, "POST", path, head + blob, Inference_Header_Content_Length=str(len(head)))


# -- numbers -----------------------------------------------------------------------------------------------------------


def test_whole_data_do_not_make_an_input_whole(started, ask):
    server = started("float32", doubling("float32"))
    assert predicted(ask, server, [[1.5, 0, -2, 0.25]]).json == {"predictions": [[3.0, 0.0, -4.0, 0.5]]}


def test_a_double_arrives_as_such(started, ask):
    server = started("float64", doubling("float64"))
    fine = 1_000_000_000.123456
    assert predicted(ask, server, [[fine, 0, 0, 0]]).json["predictions"][0][0] == 2 * fine
    assert server.predict(np.array([[fine, 0, 0, 0]]))[0, 0] == 2 * fine
    metadata = ask(server, "GET", f"/v2/models/{server.name}").json
    assert [t["datatype"] for t in (*metadata["inputs"], *metadata["outputs"])] == ["FP64", "FP64"]


@pytest.mark.parametrize(
    ("dtype", "row", "words"),
    [
        (
            "float32",
            [1e39, 0, 0, 0],
            "expected float32 (-3.4028234663852886e+38 to 3.4028234663852886e+38), got 1e+39.",
        ),
        ("float32", [0, 0, 0, -1e39], "got -1e+39."),
        ("float32", [10**60, 0, 0, 0], "got 1e+60."),
        ("float32", [1.0, True, 0, 0], "expected float32 (real numbers), got a truth value True."),
        ("float32", [0, 0, 0, False], "got a truth value False."),
        ("float32", [0, 0, 0, None], "got null."),
        ("float32", ["1", 0, 0, 0], "got text '1'."),
        ("float64", [0, 0, True, 0], "expected float64 (real numbers), got a truth value True."),
        ("int32", [1, True, 0, 0], "expected int32 (whole numbers), got a truth value True."),
        ("int32", [1, 2**31, 0, 0], "expected int32 (-2147483648 to 2147483647), got 2147483648."),
        ("int32", [1, 10**30, 0, 0], "expected int32 (-2147483648 to 2147483647), got 1"),
        ("int32", [1, 0.5, 0, 0], "expected int32 (whole numbers), got a real number 0.5."),
    ],
)
def test_what_does_not_fit_is_refused(started, ask, dtype, row, words):
    server = started(dtype, doubling(dtype))
    answer = predicted(ask, server, [row])
    assert answer.status == 400
    assert words in answer.error
    wire = {"float32": "FP32", "float64": "FP64", "int32": "INT32"}[dtype]
    assert words in inferred(ask, server, wire, row).error


@pytest.mark.parametrize("body", [b"[NaN, 1e400, 0, 0]", b"[1e400, 0, 0, 0]", b"[-1e999, 0, 0, NaN]"])
def test_a_number_beyond_all_dtypes_is_no_infinity(started, ask, body):
    answer = predicted(ask, started("float64", doubling("float64")), b'{"instances": [' + body + b"]}")
    assert answer.status == 400
    assert "out of range" in answer.error


def test_literals_that_are_no_numbers_are_taken_by_real_inputs_only(started, ask):
    answer = predicted(ask, started("float32", doubling("float32")), b'{"instances": [[NaN, Infinity, -Infinity, 1]]}')
    first, *rest = answer.json["predictions"][0]
    assert np.isnan(first)
    assert rest == [np.inf, -np.inf, 2.0]
    assert predicted(ask, started("int32", doubling("int32")), b'{"instances": [[NaN, 0, 0, 0]]}').status == 400


@pytest.mark.parametrize(
    ("dtype", "wire", "row"),
    [
        ("float32", "UINT8", [0, 1, 2, 255]),
        ("float32", "INT32", [-5, 0, 1, 2**24]),
        ("float32", "FP64", [0.5, 0.1, 2, 3]),
        ("float32", "FP16", [0.5, 2, 3, 4]),
        ("float64", "INT64", [2**53, -(2**53), 0, 1]),
        ("float64", "UINT64", [2**63, 0, 1, 2]),
        ("int32", "INT64", [-5, 0, 1, 2**29]),
        ("int32", "UINT8", [0, 1, 2, 255]),
        ("int32", "FP32", [-5.0, 0.0, 1.0, 8.0]),
    ],
)
def test_other_datatypes_are_taken_where_no_number_changes(started, ask, dtype, wire, row):
    server = started(dtype, doubling(dtype))
    numpy_name = {"FP": "float", "IN": "int", "UI": "uint"}[wire[:2]] + wire.lstrip("FPINTU")
    wanted = [2 * v for v in np.array(row, dtype).tolist()]
    for blob in (None, np.array(row, numpy_name).tobytes()):
        answer = inferred(ask, server, wire, row, blob)
        assert answer.status == 200, answer.body
        assert answer.json["outputs"][0]["data"] == wanted


@pytest.mark.parametrize(
    ("dtype", "wire", "array", "words"),
    [
        (
            "float32",
            "INT32",
            np.int32([2**24 + 1, 0, 0, 0]),
            "holds all integers only up to 16777216, got 16777217",
        ),
        ("float32", "INT64", np.int64([0, 0, 0, 2**62 + 1]), "got 4611686018427387905"),
        ("float64", "INT64", np.int64([2**63 - 1, 0, 0, 0]), "got 9223372036854775807"),
        ("float32", "FP64", np.float64([1e39, 0, 0, 0]), "got 1e+39."),
        ("int32", "INT64", np.int64([2**31, 0, 0, 0]), "expected int32 (-2147483648 to 2147483647), got 2147483648."),
        ("int32", "FP32", np.float32([0.5, 0, 0, 0]), "expected int32 (whole numbers), got a real number 0.5."),
        ("int32", "FP32", np.float32([np.nan, 0, 0, 0]), "expected int32 (whole numbers), got a real number nan."),
        ("float32", "BOOL", np.array([True, False, False, True]), "expected datatype FP32, got 'BOOL'."),
        ("float32", "BYTES", np.array([1, 2, 3, 4], np.uint8), "expected datatype FP32, got 'BYTES'."),
    ],
)
def test_other_datatypes_are_refused_where_a_number_would_change(started, ask, dtype, wire, array, words):
    answer = inferred(ask, started(dtype, doubling(dtype)), wire, array.tolist(), array.tobytes())
    assert answer.status == 400
    assert words in answer.error


def test_truth_values_are_nothing_else(started, ask):
    server = started("bool", giving("bool"))
    assert predicted(ask, server, [[True, False]]).json == {"predictions": [[True, False]]}
    assert "got a number 1." in predicted(ask, server, [[True, 1]]).error
    assert inferred(ask, server, "BOOL", [1, 0], bytes([1, 0])).json["outputs"][0]["data"] == [True, False]
    assert "BOOL is 0 or 1 in each byte, got 255" in inferred(ask, server, "BOOL", [1, 0], bytes([0, 255])).error
    assert "expected datatype BOOL, got 'UINT8'" in inferred(ask, server, "UINT8", [1, 0], bytes([1, 0])).error


def test_bytes_of_an_image_may_be_real_numbers(started, ask):
    """Preprocessing makes real numbers of the bytes, so that 0.5 has a meaning."""

    def make(folder):
        path = graph(
            folder, [node("Add", ["x", "x"], ["y"])], [value("x", "float32", "N", 2)], [value("y", "float32", "N", 2)]
        )
        images = np.arange(120).reshape(60, 2).astype(np.uint8)
        return exported(path, dk.Dataset.from_arrays(images, preprocess=dk.Preprocess(scale=0.25)))

    server = started("image", make)
    assert str(server.artifact.manifest.inputs[0]) == "x: uint8 (?, 2)"
    assert predicted(ask, server, [[2, 5]]).json == {"predictions": [[1.0, 2.5]]}
    assert predicted(ask, server, [[2.5, 0.5]]).json == {"predictions": [[1.25, 0.25]]}
    assert inferred(ask, server, "FP32", [2.5, 255], np.float32([2.5, 255]).tobytes()).json["outputs"][0]["data"] == [
        1.25,
        127.5,
    ]
    np.testing.assert_array_equal(server.predict([[2.5, 0.5]]), [[1.25, 0.25]])
    exact = 2 * (np.float32(0.1) * np.float32(0.25))
    assert predicted(ask, server, [[0.1, 3]]).json["predictions"][0][0] == float(exact)
    for odd in (255.5, -1, 300):
        assert "expected uint8 (0 to 255)" in predicted(ask, server, [[2, odd]]).error


# -- text --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["a\0", "größe"], ["", "\0"], ["x" * 300, "b"]])
def test_text_comes_back_as_it_was_sent(started, ask, words):
    server = started("text", giving("string"))
    packed = [{"b64": base64.b64encode(w.encode()).decode()} for w in words]
    blob = b"".join(len(w.encode()).to_bytes(4, "little") + w.encode() for w in words)
    assert predicted(ask, server, [words]).json == {"predictions": [words]}
    assert predicted(ask, server, [packed]).json == {"predictions": [words]}
    assert inferred(ask, server, "BYTES", words).json["outputs"][0]["data"] == words
    assert inferred(ask, server, "BYTES", words, blob).json["outputs"][0]["data"] == words
    assert server.predict([words]).tolist() == [words]
    assert server.predict(np.array([words], object)).tolist() == [words]


def test_bytes_that_are_not_text_are_refused_where_the_runtime_takes_text(started, ask):
    server = started("text", giving("string"))
    odd = b"\xff\xd8"
    blob = b"\x02\0\0\0" + odd + b"\x01\0\0\0a"
    for answer in (
        predicted(ask, server, [[{"b64": base64.b64encode(odd).decode()}, "a"]]),
        inferred(ask, server, "BYTES", ["", ""], blob),
    ):
        assert answer.status == 400
        assert "takes only text, got bytes that are not UTF-8" in answer.error
    with pytest.raises(RequestError, match="not UTF-8"):
        server.predict(np.array([[odd, "a"]], object))


def test_half_a_surrogate_pair_is_no_text(started, ask):
    answer = predicted(ask, started("text", giving("string")), b'{"instances": [["\\ud800", "NaN"]]}')
    assert answer.status == 400


# -- sizes, state, batches ---------------------------------------------------------------------------------------------


def tokens(folder):
    """ids and mask (N, L) → mean of the masked ids, (N,), and the masked ids themselves."""
    path = graph(
        folder,
        [
            node("Mul", ["ids", "mask"], ["kept"]),
            node("Cast", ["kept"], ["real"], to=1),
            node("ReduceMean", ["real"], ["mean"], axes=[1], keepdims=0),
        ],
        [value("ids", "int64", "N", "L"), value("mask", "int64", "N", "L")],
        [value("mean", "float32", "N"), value("kept", "int64", "N", "L")],
    )
    rng = np.random.default_rng(0)
    return exported(path, ({"mask": rng.integers(0, 2, (60, 12)), "ids": rng.integers(0, 99, (60, 12))}, None))


@pytest.mark.parametrize("length", [1, 5, 12, 40])
def test_tokens_of_any_length_are_taken(started, length):
    ids, mask = np.arange(3 * length).reshape(3, length), np.arange(3 * length).reshape(3, length) % 2
    found = started("tokens", tokens).predict({"ids": ids, "mask": mask})
    np.testing.assert_array_equal(found["kept"], ids * mask)
    np.testing.assert_allclose(found["mean"], (ids * mask).mean(axis=1), rtol=1e-6)


def test_lengths_that_do_not_go_together_are_the_clients_fault(started, ask):
    body = {"inputs": {"ids": [[1, 2, 3, 4]], "mask": [[1, 1, 1]]}}
    answer = ask(started("tokens", tokens), "POST", "/v1/models/graph:predict", body)
    assert answer.status == 400
    assert answer.error.startswith("The model cannot run examples of shape (4,) for 'ids', (3,) for 'mask': ")


def stateful(folder):
    return exported(carrying(folder), (normal(60, 4), None), state={"next": "state"})


def test_each_request_has_fresh_state_and_clients_can_carry_their_own(started, ask):
    server = started("state", stateful)
    x = normal(6, 4)
    first = server.predict(x[:2])
    np.testing.assert_allclose(first["y"], 2 * x[:2], rtol=1e-6)
    np.testing.assert_array_equal(server.predict(x[:2])["y"], first["y"])
    second = server.predict({"x": x[2:4], "state": first["next"]})
    np.testing.assert_allclose(second["y"], 2 * (x[:2] + x[2:4]), rtol=1e-5)
    rows = [{"x": x[4].tolist(), "state": second["next"][0].tolist()}]
    answer = predicted(ask, server, rows).json["predictions"][0]
    np.testing.assert_allclose(answer["y"], 2 * (x[0] + x[2] + x[4]), rtol=1e-5)
    alone = ask(server, "POST", f"/v1/models/{server.name}:predict", {"inputs": x[:1].tolist()}).json["outputs"]
    np.testing.assert_allclose(alone["y"], 2 * x[:1], rtol=1e-6)
    assert verify(server.artifact, url=server.url).ok


def test_a_state_alone_and_unlike_rows_are_refused(started, ask):
    server = started("state", stateful)
    row, state = [1.0, 2.0, 3.0, 4.0], [[0.0] * 4]
    answer = predicted(ask, server, [{"state": state}])
    assert answer.error.endswith("Expected the inputs 'x' (and, if you carry it, the state 'state'); got 'state'.")
    answer = predicted(ask, server, [{"x": row, "state": state}, {"x": row}])
    assert answer.error == "'instances': expected the same inputs in all objects, not at position 1."
    answer = inferred(ask, server, "FP32", row, parameters={"sequence_id": 7, "sequence_start": True})
    assert answer.status == 400
    assert "this server keeps no state between requests" in answer.error


def test_examples_that_depend_on_their_batch_get_their_own_answer(started):
    def make(folder):
        path = graph(
            folder,
            [node("ReduceMax", ["x"], ["top"], axes=[0, 1], keepdims=1), node("Div", ["x", "top"], ["y"])],
            [value("x", "float32", "N", 4)],
            [value("y", "float32", "N", 4)],
        )
        return exported(path, (np.abs(normal(60, 4)) + 1, None))

    server = started("maximum", make)
    x = np.abs(normal(8, 4)) * (1 + np.arange(8)[:, None]).astype(np.float32) + 1
    np.testing.assert_allclose(server.predict(x), x / x.max(axis=1, keepdims=True), rtol=1e-6)
    plane = DataPlane(Artifact.open(server.artifact.path))
    assert plane.most_joined == 1


def test_every_output_is_compared_before_anything_is_served(tmp_path):
    artifact = exported(carrying(tmp_path), (normal(60, 4), None), state={"next": "state"})
    golden = artifact.path / artifact.manifest.golden_outputs
    found = load_arrays(golden)
    save_arrays(golden, {**found, "next": found["next"] + 1})
    manifest = artifact.path / "manifest.json"
    text = json.loads(manifest.read_text())
    text["files"][artifact.manifest.golden_outputs] = file_digest(golden)
    manifest.write_text(json.dumps(text))
    with pytest.raises(ServeError, match=r"is not served: Outputs differ .* of the range of 'next'"):
        serve(artifact, port=0)


def test_outputs_of_one_form_keep_their_names(started):
    def make(folder):
        path = graph(
            folder,
            [node("Neg", ["x"], ["b"]), node("Abs", ["x"], ["a"])],
            [value("x", "float32", "N", 4)],
            [value("b", "float32", "N", 4), value("a", "float32", "N", 4)],
        )
        return exported(path, (normal(60, 4), None))

    x = normal(3, 4)
    found = started("outputs", make).predict(x)
    assert list(found) == ["b", "a"]
    np.testing.assert_array_equal(found["a"], np.abs(x))
    np.testing.assert_array_equal(found["b"], -x)
