"""Triton Inference Server: a repository with the ONNX model, its configuration and warm-up inputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.artifact import Manifest
from deploykit.core.parameter import Parameter
from deploykit.exporters import _open_inference_client
from deploykit.exporters._contract import Draft, Exporter
from deploykit.exporters._texts import readme
from deploykit.exporters._triton_repository import ACCEPTS, write_repository
from deploykit.measuring.exportable import Exportable

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RUN = """\
## Run it

    docker run --rm -p 8000:8000 -p 8001:8001 -v "$PWD:/models" nvcr.io/nvidia/tritonserver:24.12-py3 \\
        tritonserver --model-repository=/models

`{name}/config.pbtxt` names the tensors and says how requests are joined{batches}. The golden inputs in
`{name}/warmup` are run before the model takes requests.

**Triton runs the ONNX file alone: its clients must send preprocessed examples** (see the table). `deploykit serve .`
serves the same folder and takes raw examples; `deploykit verify . --url http://HOST:8000` checks either server against
the golden outputs.
"""


class Triton(Exporter):
    """Holds ONNX files."""

    name = "triton"
    bare = True
    label = "Triton"
    help = "ONNX only: NAME/config.pbtxt, NAME/VERSION/model.onnx and warm-up inputs: a repository for Triton."
    accepts = ACCEPTS
    parameters = (
        Parameter("version", "int", 1, "Number of the model's version, the name of its folder.", minimum=1),
        Parameter(
            "max_batch",
            "int",
            32,
            "Most examples that Triton runs as one batch, of one request or of several. 0, and wherever answers depend "
            "on the batch: each request runs by itself.",
            minimum=0,
            maximum=65536,
        ),
        Parameter(
            "delay_us",
            "int",
            0,
            "How long, in microseconds, the first request of a batch waits for others.",
            minimum=0,
            maximum=10_000_000,
        ),
        Parameter("instances", "int", 1, "Copies of the model that run at the same time.", minimum=1, maximum=1024),
    )

    def write(self, candidate: Exportable, draft: Draft, folder: Path) -> str:
        """Write ``NAME/config.pbtxt``, ``NAME/VERSION/``, ``NAME/warmup/`` and ``README.md``.

        Raises:
            ExportError: The model runs sequences step by step, whose state Triton would have to carry on.
        """
        model, batch = write_repository(candidate, draft, folder)
        batches = f", up to {batch} examples at once" if batch else ": not at all"
        run = _RUN.format(name=draft.name, batches=batches)
        (folder / "README.md").write_text(readme(candidate, draft, run), encoding="utf-8")
        return model

    def ask(self, url: str, manifest: Manifest, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Ask Triton, which takes preprocessed examples, by the Open Inference Protocol."""
        return _open_inference_client.ask(url, manifest, inputs)


ADAPTER = Triton()
