"""Settings that all layouts with deploykit's own container share."""

from __future__ import annotations

from deploykit.core.parameter import Parameter

IMAGE = Parameter(
    "image",
    "text",
    "",
    "Name and tag of the image, with its registry; empty: the model's name and the start of its file's digest.",
)
WORKERS = Parameter(
    "workers", "int", 1, "Processes in each container, each with the model in memory.", minimum=1, maximum=256
)
MEMORY = Parameter(
    "memory_mib",
    "int",
    0,
    "Most memory of a container; 0: from what the model took when it was run for the export. A worker that takes its "
    "share is replaced before the container is killed.",
    minimum=0,
    maximum=1 << 24,
    unit="MiB",
)
PARAMETERS = (IMAGE, WORKERS, MEMORY)
