"""Servers seen as one, examples that are kept where that is allowed, and a sample beside the reference."""

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.errors import SettingError, UnknownRequestError
from deploykit.serving._serve import serve
from deploykit.serving.observing.monitor import monitor
from tests.serving.observing.test_drift import artifact as artifact
from tests.serving.observing.test_drift import images, send, until


def test_servers_of_one_model_are_seen_as_one(artifact):
    settings = {"every_seconds": 1, "cost": 1.0}
    rng = np.random.default_rng(1)
    with serve(artifact, port=0, monitor=settings) as first, serve(artifact, port=0, monitor=settings) as second:
        both = monitor([first, second.url])
        send(first, monitor(first), images(rng, 512))
        send(second, monitor(second), images(rng, 512))
        assert until(lambda: both.status().models and both.model().drift["requests"] == 1024)
        own = [monitor(one).model().drift["evidence"] for one in (first, second)]
        assert both.model().drift["evidence"] == pytest.approx(np.mean(own))
        assert both.model().note == "On 2 servers."
        assert both.alarms == ()
        second.predict(images(rng, 1), request_id="there")
        assert both.feedback("there", 1) == 1
        with pytest.raises(UnknownRequestError, match="'nowhere'"):
            both.feedback("nowhere", 1)
        both.close()


def test_unusual_examples_are_kept_only_where_that_is_allowed(artifact, tmp_path):
    rng = np.random.default_rng(2)
    odd = 9 * images(rng, 64)
    for allowed in (0, 3):
        folder = tmp_path / str(allowed)
        settings = {"every_seconds": 1, "cost": 1.0, "examples": allowed}
        with serve(artifact, port=0, monitor=settings, monitor_folder=folder) as server:
            send(server, monitor(server), odd)
        kept = sorted(folder.glob("examples/*.npz"))
        assert len(kept) == allowed
        for file in kept:
            with np.load(file) as example:
                assert any(np.array_equal(example["image"], one[None]) for one in odd)
    with pytest.raises(SettingError, match="monitor_folder"):
        serve(artifact, port=0, monitor={"examples": 1})


def test_a_sample_is_compared_with_what_the_model_was_measured_on(artifact, tmp_path):
    rng = np.random.default_rng(3)
    assert dk.check_skew(artifact, images(rng, 100)) == ()
    found = dk.check_skew(artifact, 255 * images(rng, 100))
    assert [one.what for one in found][:1] == ["units"]
    assert "were not divided by 255" in str(found[0])
