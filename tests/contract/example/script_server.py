"""An export layout as an outsider would write it: a script that serves the model, and how to ask it."""

from __future__ import annotations

import shutil

from deploykit.artifacts.client import Client
from deploykit.core.parameter import Parameter
from deploykit.exporters._contract import Exporter

_SCRIPT = """\
import json
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = session.run(None, {name: np.float32(value) for name, value in given.items()})
        body = json.dumps({o.name: a.tolist() for o, a in zip(session.get_outputs(), found)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", PORT), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


class ScriptServer(Exporter):
    """A script that serves one ONNX model with the standard library."""

    name = "script_server"
    label = "Script"
    help = "ONNX only: a Python script that answers POST requests with preprocessed examples."
    accepts = frozenset({"onnx"})
    parameters = (
        Parameter("port", "int", 8000, "Port the script listens on; 0 for any free one.", minimum=0, maximum=65535),
    )

    def write(self, candidate, draft, folder):
        """Write ``model.onnx``, ``serve.py`` and ``README.md``."""
        shutil.copyfile(candidate.path, folder / "model.onnx")
        (folder / "serve.py").write_text(_SCRIPT.replace("PORT", str(draft.parameters["port"])))
        (folder / "README.md").write_text(f"python serve.py  # answers on port {draft.parameters['port']}\n")
        return "model.onnx"

    def ask(self, url, manifest, inputs):
        """Send preprocessed examples by the names of the file."""
        import numpy as np

        ready = {name: manifest.preprocess[name].apply(array) for name, array in inputs.items()}
        sent = {manifest.input_names[name]: array.tolist() for name, array in ready.items()}
        with Client(url) as client:
            found = client.post("/", sent)
        return {name: np.float32(found[there]) for name, there in manifest.output_names.items()}


ADAPTER = ScriptServer()
