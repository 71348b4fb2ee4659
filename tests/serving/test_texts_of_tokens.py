"""Answers for each token of a text: requests of other lengths are not put together, and none changes another's."""

import concurrent.futures

import numpy as np
import pytest

import deploykit as dk
from deploykit.monitoring.profile import Profile
from deploykit.testing import bert


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tagger")
    model = dk.load(bert.write_folder(folder / "bert", head="tokens", labels=("O", "B-PER", "B-LOC")))
    texts = ["john lives in paris .", "mary", "a very good film !", "john and mary visit london ."] * 40
    choice = dk.build(model, dk.Recipe(), dk.Dataset.from_text(texts), target="onnxruntime")
    return dk.export(choice, folder / "out", name="tagger")


def test_each_request_gets_the_answer_of_its_own_length(artifact):
    texts = ["mary", "john lives in paris .", "a very good film and a great story !"] * 8
    with dk.serve(artifact, port=0) as server:
        alone = {text: server.predict([text]) for text in texts}
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda text: server.predict([text]), texts))
    assert len({answer.shape for answer in alone.values()}) == 3
    for text, answer in zip(texts, together, strict=True):
        np.testing.assert_allclose(answer, alone[text], atol=1e-5)


def test_what_is_watched_of_such_a_model_are_its_inputs(artifact):
    with artifact.opened() as files:
        profile = Profile.from_bytes(files.profile())
    assert not profile.head.answered.name
    assert [read.name for read in profile.head.inputs] == ["text"]
