"""Reads an InferenceService into the types of KServe's SDK and writes it again: what they do not know gets lost.

Prints both. The SDK's package itself imports its model server, which is not needed here.
"""

import importlib
import json
import sys
import types
from pathlib import Path

import yaml

folder, file = map(Path, sys.argv[1:])
package = types.ModuleType("kserve")
package.__path__ = [str(folder / "kserve")]
sys.modules["kserve"] = package

from kubernetes import client  # noqa: E402

for source in (folder / "kserve" / "models").glob("v1beta1_*.py"):
    module = importlib.import_module(f"kserve.models.{source.stem}")
    for name, kind in vars(module).items():
        if isinstance(kind, type) and hasattr(kind, "openapi_types"):
            setattr(client.models, name, kind)

given = yaml.safe_load(file.read_text("utf-8"))
api = client.ApiClient()
read = api._ApiClient__deserialize(given, "V1beta1InferenceService")
written = api.sanitize_for_serialization(read)
print(json.dumps({"given": given, "written": written}))
