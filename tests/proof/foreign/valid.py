"""Checks documents against a published schema: ``valid.py compose FILE…`` or ``valid.py kubernetes VERSION FILE…``.

Prints an object with the number of documents of each kind; a document that is not valid ends it.
"""

import collections
import json
import sys
from pathlib import Path

import yaml


def compose(files):
    import check_jsonschema
    import jsonschema

    folder = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor"
    schema = json.loads((folder / "compose-spec.json").read_text("utf-8"))
    for file in files:
        jsonschema.Draft7Validator(schema).validate(yaml.safe_load(Path(file).read_text("utf-8")))
    return {"compose": len(files)}


def kubernetes(files):
    import kubernetes_validate

    version, *files = files
    found = collections.Counter()
    for file in files:
        for document in filter(None, yaml.safe_load_all(Path(file).read_text("utf-8"))):
            kubernetes_validate.validate(document, version, strict=True)
            found[document["kind"]] += 1
    return dict(found)


print(json.dumps({"compose": compose, "kubernetes": kubernetes}[sys.argv[1]](sys.argv[2:])))
