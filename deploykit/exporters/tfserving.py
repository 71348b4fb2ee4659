"""TensorFlow Serving: a versioned SavedModel, ``models.config`` and warm-up requests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.artifact import Manifest
from deploykit.core.errors import ExportError
from deploykit.core.parameter import Parameter
from deploykit.exporters import _tfserving_client
from deploykit.exporters._contract import Draft, Exporter
from deploykit.exporters._files import copy_model
from deploykit.exporters._texts import readme
from deploykit.exporters._warmup import warmup_records
from deploykit.measuring.exportable import Exportable

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CONFIG = """\
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
  }}
}}
"""

_RUN = """\
## Run it

    docker run -p 8501:8501 -v "$PWD:/models" tensorflow/serving --model_config_file=/models/models.config

`{model}/assets.extra/tf_serving_warmup_requests` warms up the model before it takes requests.

**TensorFlow Serving runs the SavedModel alone: its clients must send preprocessed examples** (see the
table). `deploykit serve .` serves the same folder and takes raw examples; `deploykit verify . --url URL` checks
either server against the golden outputs.
{alone}"""
_ALONE = """
Answers depend on the batch: leave `--enable_batching` off, and send requests of the size that was measured.
"""


class TFServing(Exporter):
    """Holds SavedModel folders."""

    name = "tfserving"
    bare = True
    label = "TensorFlow Serving"
    help = "SavedModel only: NAME/VERSION/, models.config and warm-up requests, as TensorFlow Serving loads them."
    accepts = frozenset({"saved_model"})
    parameters = (
        Parameter(
            "version",
            "int",
            1,
            "Number of the model's version, the name of its folder; TensorFlow Serving serves the highest it finds.",
            minimum=1,
        ),
    )

    def write(self, candidate: Exportable, draft: Draft, folder: Path) -> str:
        """Write ``NAME/VERSION/``, ``models.config`` and ``README.md``.

        Raises:
            ExportError: The model writes variables, which TensorFlow Serving would keep for the next client.
        """
        if draft.stateful:
            raise ExportError(
                f"The model keeps state between calls ({', '.join(draft.stateful)}), and TensorFlow Serving would "
                "carry it over from one client to the next.",
                remedy="export with layout='folder': deploykit serve starts each request with fresh state.",
            )
        model = f"{draft.name}/{draft.parameters['version']}"
        copy_model(candidate.path, folder / model)
        extra = folder / model / "assets.extra"
        extra.mkdir(exist_ok=True)
        (extra / "tf_serving_warmup_requests").write_bytes(warmup_records(draft.name, draft.examples))
        (folder / "models.config").write_text(_CONFIG.format(name=draft.name), encoding="utf-8")
        alone = _ALONE if draft.batch_dependent else ""
        run = _RUN.format(model=model, alone=alone)
        (folder / "README.md").write_text(readme(candidate, draft, run), encoding="utf-8")
        return model

    def ask(self, url: str, manifest: Manifest, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Ask TensorFlow Serving, which takes preprocessed examples, by its REST protocol."""
        return _tfserving_client.ask(url, manifest, inputs)


ADAPTER = TFServing()
