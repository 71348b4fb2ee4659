"""A repository folder for the Hugging Face Hub: the model, and a model card with its metadata.

Source: the Hub's documentation of model cards: ``modelcard.md`` (metadata) and ``model-index``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploykit.artifacts.artifact import Manifest
from deploykit.core.contract import CLASSES
from deploykit.core.parameter import Parameter
from deploykit.exporters._contract import Draft, Exporter
from deploykit.exporters._files import copy_model
from deploykit.exporters._wheel import write_wheel
from deploykit.exporters._yaml import yaml_text
from deploykit.measuring.exportable import Exportable

#: Identifiers of licenses that the Hub knows by SPDX's names in lower case.
_LICENSES = frozenset({
    "afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "bsd-2-clause", "bsd-3-clause", "bsl-1.0", "cc0-1.0",
    "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-sa-4.0", "cdla-permissive-2.0", "ecl-2.0", "epl-1.0",
    "epl-2.0", "eupl-1.1", "eupl-1.2", "gpl-2.0", "gpl-3.0", "isc", "lgpl-2.1", "lgpl-3.0", "mit", "mpl-2.0", "ncsa",
    "ofl-1.1", "osl-3.0", "postgresql", "unlicense", "wtfpl", "zlib",
})  # fmt: skip
#: Large binary files, which the Hub keeps apart.
_ATTRIBUTES = "".join(
    f"{pattern} filter=lfs diff=lfs merge=lfs -text\n"
    for pattern in ("*.onnx", "*.onnx.data", "*.tflite", "*.pb", "*.npz", "*.whl", "variables.*", "*.bin")
)
_USE = """\
## Use it

With this repository downloaded, which you need not trust more than its digests:

    pip install -r requirements.txt
    deploykit verify .
    deploykit serve . --port 8501

`deploykit verify` compares every file with `manifest.json`, loads the model in a process of its own and runs it on the
golden inputs. The server takes raw examples and does the preprocessing.
"""


class HuggingFace(Exporter):
    """Holds any format."""

    name = "huggingface"
    label = "Hugging Face"
    place = "exchange"
    requires = ("yaml",)
    help = "Any format: a repository for the Hugging Face Hub, with a model card, its metadata and measured results."
    parameters = (
        Parameter(
            "task",
            "text",
            "",
            "The Hub's name of the model's task (pipeline_tag), for example image-classification; empty: found out.",
        ),
    )

    def write(self, candidate: Exportable, draft: Draft, folder: Path) -> str:
        """Write the model, deploykit's wheel, ``requirements.txt`` and ``.gitattributes``."""
        model = f"model{draft.suffix}"
        copy_model(candidate.path, folder / model)
        for name in draft.extra_files:
            copy_model(candidate.path.parent / name, folder / name)
        write_wheel(folder)
        lines = ["--find-links .", *draft.requirements]
        (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        (folder / ".gitattributes").write_text(_ATTRIBUTES, encoding="utf-8")
        return model

    def describe(self, candidate: Exportable, manifest: Manifest, card: str, folder: Path) -> None:
        """Write ``README.md``: the card behind its metadata."""
        metadata = _metadata(candidate, manifest, str(manifest.parameters["task"]) or _task(candidate))
        (folder / "README.md").write_text(f"---\n{yaml_text(metadata)}---\n\n{card}\n{_USE}", encoding="utf-8")


def _metadata(candidate: Exportable, manifest: Manifest, task: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if manifest.license.lower() in _LICENSES:
        found["license"] = manifest.license.lower()
    elif manifest.license:
        found |= {"license": "other", "license_name": manifest.license}
    found["library_name"] = "deploykit"
    if task:
        found["pipeline_tag"] = task
    steps = [step.technique for step in manifest.recipe.steps]
    found["tags"] = list(dict.fromkeys(["deploykit", manifest.format.replace("_", "-"), *steps]))
    measured = candidate.result.measurement if candidate.result else None
    if measured is None:
        return found
    found["metrics"] = [score.metric for score in measured.scores]
    scored = [("evaluation", score) for score in measured.scores]
    if measured.confirmation:
        scored.append(("test", measured.confirmation))
    source = Path(candidate.data.reading.source).name or "the data of the sweep"
    results = [
        {
            "task": {"type": task or "other"},
            "dataset": {"type": source, "name": source, "split": split},
            "metrics": [{"type": score.metric, "value": score.value, "name": f"{score.metric} ({split})"}],
        }
        for split, score in scored
    ]
    found["model-index"] = [{"name": manifest.name, "results": results}]
    return found


def _task(candidate: Exportable) -> str:
    """The Hub's name of what the model does, "" where facts do not say."""
    contract = candidate.data.checked
    fed = [i for i in contract.inputs if i.is_asked]
    scored = next((o for o in contract.outputs if o.role == "scored"), None)
    if len(fed) != 1 or scored is None or fed[0].shape is None:
        return ""
    rank, classes = len(fed[0].shape), scored.kind in CLASSES
    if scored.kind == "embedding":
        return "image-feature-extraction" if rank == 4 else "feature-extraction"
    if fed[0].dtype == "string":
        return "text-classification" if classes else ""
    if rank == 4 and classes:
        whole = scored.shape is not None and len(scored.shape) > 2
        return "image-segmentation" if whole else "image-classification"
    if rank == 2 and (classes or scored.kind == "values"):
        return "tabular-classification" if classes else "tabular-regression"
    return ""


ADAPTER = HuggingFace()
