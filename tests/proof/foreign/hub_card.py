"""The Hub's own library reads a card: FOLDER → what it has found."""

import importlib.metadata
import json
import sys
from pathlib import Path

from huggingface_hub import ModelCard
from huggingface_hub.repocard import metadata_load

path = Path(sys.argv[1]) / "README.md"
card, metadata = ModelCard.load(path), metadata_load(path)
results = [
    {"metric": r.metric_type, "value": r.metric_value, "task": r.task_type, "split": r.dataset_split}
    for r in card.data.eval_results or []
]
found = {
    "license": card.data.license, "library": card.data.library_name, "task": card.data.pipeline_tag,
    "tags": card.data.tags, "model": card.data.model_name, "results": results, "same": metadata == metadata_load(path),
    "title": card.text.strip().splitlines()[0],
}  # fmt: skip
print(json.dumps({**found, "versions": {"huggingface_hub": importlib.metadata.version("huggingface_hub")}}))
