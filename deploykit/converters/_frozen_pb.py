"""Opening frozen graphs to convert them."""

from __future__ import annotations

from deploykit.converters import _keras
from deploykit.converters._contract import Job
from deploykit.loading._contract import FORMATS
from deploykit.loading._frozen_pb.session import GraphSession


def opened(job: Job) -> tuple[GraphSession, _keras.Names]:
    """The graph of a job as TensorFlow runs it, and its names as TensorFlow takes them for arguments."""
    session = FORMATS.get(job.source_format).open_given(job.source, None, trusted=job.trusted)
    assert isinstance(session, GraphSession)
    inputs = [spec.name for spec in session.inputs]
    outputs = {spec.name: spec.name for spec in session.outputs}
    return session, _keras.Names(dict(zip(inputs, _keras.argument_names(inputs), strict=True)), outputs)
