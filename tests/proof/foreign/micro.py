"""TensorFlow Lite Micro runs a file: MODEL INPUTS.npz OUTPUTS.npz → the bytes of its arena, as it prints them."""

import importlib.metadata
import json
import os
import re
import sys
import tempfile

import numpy as np
from tflite_micro import runtime

interpreter = runtime.Interpreter.from_file(sys.argv[1])
with np.load(sys.argv[2]) as file:
    examples = file["x"]
answers = []
for example in examples:
    interpreter.set_input(example[None], 0)
    interpreter.invoke()
    answers.append(interpreter.get_output(0)[0])
np.savez(sys.argv[3], y=np.stack(answers))
with tempfile.TemporaryFile() as log:  # it prints from C++
    os.dup2(log.fileno(), 2)
    interpreter.print_allocations()
    log.seek(0)
    text = log.read().decode()
found = {name: int(size) for name, size in re.findall(r"Arena allocation (\w+) (\d+) bytes", text)}
print(json.dumps({**found, "versions": {"tflite-micro": importlib.metadata.version("tflite_micro")}}))
