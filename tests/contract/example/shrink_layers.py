"""Two techniques as an outsider would write them: one with a family of its own, one that prunes without zeros."""

from __future__ import annotations

import shutil

from deploykit.core.parameter import Parameter
from deploykit.transforms._contract import PRUNE, Family, Transform, TransformJob, Variant


class _Copied(Variant):
    label = "a copy"
    help = "Copies the graph."
    requires = ("onnx",)
    accepts = frozenset({"onnx"})
    produces = "onnx"
    uses = ("share",)
    seeded = False

    def __init__(self, name: str) -> None:
        self.name = name

    def _apply(self, job: TransformJob) -> None:
        shutil.copy(job.source, job.target)


class Cluster(Transform):
    """Would cluster the weights of layers."""

    name = "cluster_layers"
    label = "clustered layers"
    help = "Shares weights between layers; no faster."
    family = Family("cluster", "triangle-left", 15)
    parameters = (Parameter("share", "float", 0.5, "Share of the weights.", minimum=0.0, maximum=1.0, unit="share"),)
    variants = (_Copied("cluster_onnx"),)


class Channels(Transform):
    """Would remove whole channels, so that no zeros are left."""

    name = "drop_channels"
    label = "channel dropping"
    help = "Removes channels; the accuracy may suffer."
    family = PRUNE
    parameters = Cluster.parameters
    variants = (_Copied("channels_onnx"),)


CLUSTER = Cluster()
CHANNELS = Channels()
