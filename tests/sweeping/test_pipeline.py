"""What of a sweep's work runs beside what."""

import threading

import deploykit as dk
from deploykit.engines.local import _LocalRunning


def test_steps_begin_while_the_sizes_of_the_model_are_computed(onnx_model, images, small_space, tmp_path, monkeypatch):
    """Compressing a large model takes a while; here it takes until a step has begun."""
    begun, waited, plain = threading.Event(), [], _LocalRunning.submit

    def submit(running, task, on_report=None):
        if task.function.endswith(":build_step"):
            begun.set()
        if not task.function.endswith(":sizes"):
            return plain(running, task, on_report)

        def sizes():
            waited.append(begun.wait(60))
            return running._run(task, on_report)

        return running._pool.submit(sizes)

    monkeypatch.setattr(_LocalRunning, "submit", submit)
    report = dk.sweep(onnx_model, images, small_space, store=tmp_path / "s", launches=0, progress=lambda _p: None)
    assert waited == [True]
    assert {r.status for r in report.rows} == {"measured"}
    assert all(r.measurement.compressed_bytes for r in report.rows)
