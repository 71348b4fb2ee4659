"""Text in and labels out, from the saved artifact alone."""

import json
import subprocess
import sys
import urllib.request

import numpy as np
import onnxruntime
import pytest
import tokenizers

import deploykit as dk
from deploykit.testing import bert

TEXTS = [
    f"{a} {b} was {c}" for a in ("the", "this", "that") for b in ("film", "plot", "story") for c in bert.WORDS[15:23]
]
ASKED = ["a good film", "John visits Paris, unbelievably often"]


def answers(folder, texts):
    """What the file gives, by the packages alone."""
    own = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    own.enable_padding(pad_id=0)
    rows = own.encode_batch(texts)
    fed = {"input_ids": [r.ids for r in rows], "attention_mask": [r.attention_mask for r in rows],
           "token_type_ids": [r.type_ids for r in rows]}  # fmt: skip
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    return session.run(None, {name: np.array(array, np.int64) for name, array in fed.items()})[0]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The model's folder, and its artifact."""
    place = tmp_path_factory.mktemp("text")
    folder = bert.write_folder(place / "tiny-bert")
    labels = answers(folder, TEXTS).argmax(axis=1)
    built = dk.build(dk.load(folder), dk.Recipe(()), dk.Dataset.from_text(TEXTS, labels))
    artifact = dk.export(built, place / "artifact")
    return folder, artifact


def test_the_artifact_takes_text_and_needs_the_tokenizers(served):
    _, artifact = served
    assert [(s.name, s.shape, s.dtype) for s in artifact.manifest.inputs] == [("text", (None,), "string")]
    assert artifact.manifest.classes == ("negative", "positive")
    assert any(line.startswith("tokenizers==") for line in artifact.manifest.requirements)
    assert artifact.manifest.preprocess["text"].tokenizer.length == 0  # no further than a request needs
    assert dk.verify(artifact).ok


def post(server, path, body):
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read())


def test_all_protocols_take_text_and_give_labels(served):
    folder, artifact = served
    wanted = answers(folder, ASKED)
    names = [("negative", "positive")[i] for i in wanted.argmax(axis=1)]
    with dk.serve(artifact, port=0, ports={"grpc": 0}) as server:
        np.testing.assert_allclose(server.predict(ASKED), wanted, atol=1e-5)
        path = f"/v1/models/{artifact.manifest.name}"
        found = post(server, f"{path}:predict", {"instances": ASKED})
        np.testing.assert_allclose(found["predictions"], wanted, atol=1e-5)
        found = post(server, f"{path}:classify", {"examples": [{"text": text} for text in ASKED]})
        assert [max(pairs, key=lambda pair: pair[1])[0] for pairs in found["results"]] == names
        tensor = {"name": "text", "shape": [2], "datatype": "BYTES", "data": ASKED}
        best = [{"name": "logits", "parameters": {"classification": 1}}]
        found = post(server, f"/v2/models/{artifact.manifest.name}/infer", {"inputs": [tensor], "outputs": best})
        assert [text.rpartition(":")[2] for text in found["outputs"][0]["data"]] == names
        from deploykit.artifacts.grpc_client import GrpcClient

        with GrpcClient(f"grpc://127.0.0.1:{server.ports['grpc']}") as client:
            found = client.infer(artifact.manifest.name, {"text": np.array([t.encode() for t in ASKED], object)})
        np.testing.assert_allclose(found["logits"], wanted, atol=1e-5)
        with pytest.raises(dk.errors.RequestError, match="UTF-8"):
            server.predict(np.array([b"\xff\xfe"], object))


def test_the_server_needs_nothing_heavier_than_the_tokenizers(served):
    _, artifact = served
    code = (
        "import sys; from deploykit.artifacts.artifact import Artifact;"
        "from deploykit.serving.dataplane import DataPlane;"
        f"plane = DataPlane(Artifact.open({str(artifact.path)!r})); import numpy as np;"
        "print(plane.infer(plane.batch({'text': np.array(['a film'], object)}))['logits'].shape);"
        "print([m for m in ('transformers', 'torch', 'pandas', 'scipy', 'onnx', 'pyarrow', 'tensorflow', 'httpx') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["(1, 2)", "[]"]
