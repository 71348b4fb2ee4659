"""A plain folder: the model, what runs it and how to run it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.artifact import Manifest
from deploykit.exporters import _tfserving_client
from deploykit.exporters._contract import Draft, Exporter
from deploykit.exporters._hosted import write_model, write_requirements
from deploykit.exporters._served import python, query
from deploykit.exporters._texts import readme
from deploykit.measuring.exportable import Exportable

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DOCKERFILE = """\
# Needs only the runtime and deploykit: no training framework unless the model runs on one.
FROM python:{python}-slim
WORKDIR /srv
COPY requirements.txt *.whl ./
RUN pip install --no-cache-dir -r requirements.txt
COPY . artifact
USER nobody
EXPOSE 8501
CMD ["deploykit", "serve", "artifact", "--host", "0.0.0.0", "--port", "8501", "--insecure"{key}]
"""

_RUN = """\
## Run it

    pip install -r requirements.txt
    deploykit verify .{key}
    deploykit serve . --port 8501{key}

or, with Docker:

    docker build -t {image} .
    docker run {variable}-p 8501:8501 {image}
{encrypted}
The wheel in this folder is deploykit as it was when this was exported, without notebooks and JupyterLab. Its version
ends in `+server`, so that pip takes it and not another one from an index.

"""


#: What an encrypted one has more.
_KEY = "env:DEPLOYKIT_KEY"
_ENCRYPTED = """
The model and the golden data are encrypted. The key is read from the environment variable DEPLOYKIT_KEY here; `--key`
also takes `file:PATH`, `keyring:NAME` and `cmd:PROGRAM ARGUMENTS`. Never put it into the image.
"""


class Folder(Exporter):
    """Holds any format."""

    name = "folder"
    label = "Folder"
    encrypts = True
    help = "Any format: model, deploykit's wheel, requirements.txt, Dockerfile and README; served by deploykit serve."

    def write(self, candidate: Exportable, draft: Draft, folder: Path) -> str:
        """Write the model, deploykit's wheel, ``requirements.txt``, ``Dockerfile`` and ``README.md``."""
        model = write_model(candidate, draft, folder)
        write_requirements(draft, folder)
        sealed = draft.vault.key is not None
        key = f', "--key", "{_KEY}"' if sealed else ""
        (folder / "Dockerfile").write_text(_DOCKERFILE.format(python=python(), key=key), encoding="utf-8")
        run = _RUN.format(
            image=draft.name.lower(),
            key=f" --key {_KEY}" if sealed else "",
            variable="-e DEPLOYKIT_KEY " if sealed else "",
            encrypted=_ENCRYPTED if sealed else "",
        ) + query(candidate, draft)
        (folder / "README.md").write_text(readme(candidate, draft, run), encoding="utf-8")
        return model

    def ask(self, url: str, manifest: Manifest, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Ask a server that runs the model file alone, by TensorFlow Serving's REST protocol."""
        return _tfserving_client.ask(url, manifest, inputs)


ADAPTER = Folder()
