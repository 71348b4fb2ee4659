"""A container image for production, with its compose file."""

from __future__ import annotations

from pathlib import Path

from deploykit.exporters._container.image import EDITABLE, write_image
from deploykit.exporters._container.parameters import PARAMETERS
from deploykit.exporters._container.sizing import sizing
from deploykit.exporters._contract import Draft, Exporter
from deploykit.exporters._served import query
from deploykit.exporters._texts import readme
from deploykit.measuring.exportable import Exportable

_RUN = """\
## Build and run it

    python lock.py
    docker build -t {image} .
    docker compose up -d
    deploykit verify . --url http://127.0.0.1:8501

`lock.py` asks your package index for the SHA-256 of everything that is installed, in the versions that the model was
measured with (`constraints.txt`), and writes `requirements.lock`. The image is built from that file alone: a package
that differs ends the build. An export asks no index, so it cannot know these digests by itself.

`docker compose up` starts the model at http://127.0.0.1:8501, Prometheus at http://127.0.0.1:9090 and Grafana, with a
dashboard, at http://127.0.0.1:3000. The container runs as user 65532, without privileges and on a read-only file
system. {sizes}

The server takes requests without tokens, so only a proxy or your network should reach it: compose publishes its port
on loopback. `Dockerfile`, `.dockerignore`, `compose.yaml` and `monitoring/` are yours to change; the other files are
compared with their digests when the server starts.

"""


class Container(Exporter):
    """Holds any format."""

    name = "container"
    label = "Container"
    help = (
        "Any format: an image with the runtime alone, pinned by hash, that runs without privileges; compose.yaml with "
        "Prometheus and Grafana."
    )
    requires = ("yaml",)
    parameters = PARAMETERS
    editable = EDITABLE

    def write(self, candidate: Exportable, draft: Draft, folder: Path) -> str:
        """Write the model, requirements, ``lock.py``, ``Dockerfile``, ``compose.yaml`` and ``README.md``.

        Raises:
            SettingError: The image's name is unusable, or the memory is less than the model takes.
            ExportError: The model's name cannot become that of a container.
        """
        sized = sizing(candidate, draft)
        run = _RUN.format(image=sized.image, sizes=sized.words) + query(candidate, draft)
        (folder / "README.md").write_text(readme(candidate, draft, run), encoding="utf-8")
        return write_image(candidate, draft, folder, sized)


ADAPTER = Container()
