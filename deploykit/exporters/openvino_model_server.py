"""OpenVINO Model Server: a repository with the model and its configuration.

Source: OpenVINO Model Server's documentation of model repositories and of the parameters of its configuration file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.artifact import Manifest
from deploykit.core.errors import ExportError
from deploykit.core.parameter import Parameter
from deploykit.exporters import _open_inference_client
from deploykit.exporters._contract import Draft, Exporter
from deploykit.exporters._files import copy_model
from deploykit.exporters._hosted import write_model
from deploykit.exporters._texts import readme
from deploykit.measuring.exportable import Exportable

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HINTS = {"latency": "LATENCY", "throughput": "THROUGHPUT"}

_RUN = """\
## Run it

    docker run --rm -p 9000:9000 -p 8000:8000 -v "$PWD:/models" openvino/model_server:latest \\
        --config_path /models/config.json --port 9000 --rest_port 8000

`config.json` says where the model is and how OpenVINO runs it: {hint}, {threads}.

**OpenVINO Model Server runs the file alone: its clients must send preprocessed examples** (see the table). `deploykit
serve .` serves the same folder and takes raw examples; `deploykit verify . --url http://HOST:8000` checks either server
against the golden outputs, and `--url grpc://HOST:9000` over gRPC.
"""


class OpenVINOModelServer(Exporter):
    """Holds what OpenVINO reads."""

    name = "openvino_model_server"
    bare = True
    label = "OpenVINO Model Server"
    help = "ONNX, TFLite and SavedModel: NAME/VERSION/ and config.json: a repository for OpenVINO Model Server."
    accepts = frozenset({"onnx", "tflite", "saved_model"})
    parameters = (
        Parameter("version", "int", 1, "Number of the model's version, the name of its folder.", minimum=1),
        Parameter(
            "requests",
            "int",
            0,
            "Requests that run at the same time; 0: as many as OpenVINO chooses.",
            minimum=0,
            maximum=100_000,
        ),
        Parameter(
            "hint",
            "choice",
            "latency",
            "What OpenVINO arranges its streams for; throughput ignores the threads that were measured.",
            choices=tuple(_HINTS),
        ),
    )

    def write(self, candidate: Exportable, draft: Draft, folder: Path) -> str:
        """Write ``NAME/VERSION/``, ``config.json`` and ``README.md``.

        Raises:
            ExportError: The model runs sequences step by step, or keeps state: the server would carry it on between
                clients.
        """
        if candidate.data.checked.sequences or draft.stateful:
            raise ExportError(
                "The model runs sequences step by step or keeps state, and OpenVINO Model Server would carry it over "
                "from one client to the next.",
                remedy="export with layout='folder': deploykit serve starts each request with fresh state.",
            )
        home = f"{draft.name}/{draft.parameters['version']}"
        if draft.suffix:
            model = write_model(candidate, draft, folder, f"{home}/")
        else:  # a SavedModel is the version's folder itself
            model = home
            copy_model(candidate.path, folder / home)
        hint, threads = str(draft.parameters["hint"]), candidate.target.threads
        # Where the processor can, OpenVINO would compute in bfloat16, and answer otherwise than was measured.
        plugin: dict[str, Any] = {"PERFORMANCE_HINT": _HINTS[hint], "INFERENCE_PRECISION_HINT": "f32"}
        if hint == "latency":
            plugin["INFERENCE_NUM_THREADS"] = threads
        config: dict[str, Any] = {
            "name": draft.name,
            "base_path": f"/models/{draft.name}",
            "target_device": "CPU" if candidate.target.device == "cpu" else "GPU",
            "plugin_config": plugin,
        }
        if draft.parameters["requests"]:
            config["nireq"] = draft.parameters["requests"]
        text = json.dumps({"model_config_list": [{"config": config}]}, indent=2)
        (folder / "config.json").write_text(f"{text}\n", encoding="utf-8")
        said = f"{threads} {'thread' if threads == 1 else 'threads'}" if hint == "latency" else "threads as it chooses"
        run = _RUN.format(hint=f"for {hint}", threads=said)
        (folder / "README.md").write_text(readme(candidate, draft, run), encoding="utf-8")
        return model

    def ask(self, url: str, manifest: Manifest, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Ask OpenVINO Model Server, which takes preprocessed examples, by the Open Inference Protocol."""
        return _open_inference_client.ask(url, manifest, inputs)


ADAPTER = OpenVINOModelServer()
