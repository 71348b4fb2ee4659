"""Requests that Schemathesis makes of a server's own description of its REST protocols."""

import re

import pytest

from deploykit.core.security.tokens import SCOPES, Tokens
from deploykit.exporters._export import export
from deploykit.serving._serve import serve
from deploykit.testing.exporters import exportable

KINDS = ("cnn_onnx", "two_inputs_onnx", "text_onnx", "log_onnx")


@pytest.mark.proof(
    "Requests made from the server's OpenAPI page are answered as it says, and none fails", against="schemathesis"
)
def test_no_request_of_the_description_fails(packages, tmp_path, versions):
    run = packages("schemathesis")
    tokens = Tokens()
    secret = tokens.add("all", scopes=SCOPES)
    tokens.save(tmp_path / "tokens")
    models = {}
    for kind in KINDS:
        (tmp_path / kind).mkdir()
        models[kind] = export(exportable(kind, tmp_path / kind), tmp_path / kind / "out").path
    with serve(models, port=0, tokens=tmp_path / "tokens") as server:
        found = run("schemathesis_run.py", server.url, secret)
        assert server.alive
    assert found["status"] == 0, found["said"]
    cases = int(re.search(r"([\d,]+) generated", found["said"])[1].replace(",", ""))
    assert cases > 1000
    versions(schemathesis=f"{re.search(r'v([0-9.]+)', found['said'])[1]}, {cases:,} requests")
