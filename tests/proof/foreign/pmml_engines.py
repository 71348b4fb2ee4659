"""Two engines evaluate PMML: FILE EXAMPLES.json, a list of fields by name → answers of each."""

import importlib.metadata
import json
import sys
from pathlib import Path

import pypmml
from jpmml_evaluator import make_evaluator

file, examples = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
jpmml, other = make_evaluator(file).verify(), pypmml.Model.fromFile(file)
answers = {
    "jpmml": [{k: v for k, v in jpmml.evaluate(e).items() if k.endswith(")")} for e in examples],
    "pypmml": [{k: v for k, v in other.predict(e).items() if k.endswith(")")} for e in examples],
    "versions": {name: importlib.metadata.version(name) for name in ("jpmml-evaluator", "pypmml")},
}
print(json.dumps(answers))
