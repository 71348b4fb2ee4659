"""Files of an image: Dockerfile, what goes into it, its locked requirements, and a compose file with monitoring."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from deploykit.artifacts.artifact import MANIFEST, files_of
from deploykit.exporters._container.compose import write_compose
from deploykit.exporters._container.constraints import constraints
from deploykit.exporters._container.sizing import HOME, PORT, USER, Sizing
from deploykit.exporters._contract import Draft
from deploykit.exporters._documents.bill import BILL
from deploykit.exporters._documents.card import CARD
from deploykit.exporters._hosted import write_model, write_requirements
from deploykit.exporters._served import python
from deploykit.measuring.exportable import Exportable

LOCK = "requirements.lock"
#: What may be changed or made later. None of it but the lock is in the image.
EDITABLE = (LOCK, "Dockerfile", ".dockerignore", "compose.yaml", "monitoring/*")

#: Asks for its health as orchestrators do; in Python, since the image has neither curl nor wget.
_HEALTH = (
    "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', {port}, timeout=4); "
    "c.request('GET', '/v2/health/live'); sys.exit(c.getresponse().status != 200)"
)
_DOCKERFILE = """\
# python lock.py writes requirements.lock: every package and its SHA-256. Nothing else is installed.
# To pin the base as well: --build-arg BASE=python:{python}-slim@sha256:…
ARG BASE=python:{python}-slim
FROM $BASE AS build
COPY {lock} *.whl /build/
RUN python -m venv /opt/deploykit \\
 && /opt/deploykit/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r /build/{lock}

FROM $BASE
ENV PATH=/opt/deploykit/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=build /opt/deploykit /opt/deploykit
COPY --chown={user}:{user} . {home}
USER {user}:{user}
EXPOSE {port}
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=6 CMD {health}
CMD {command}
"""


def write_image(
    candidate: Exportable, draft: Draft, folder: Path, sized: Sizing, also_editable: Sequence[str] = ()
) -> str:
    """Write the model, its requirements, ``lock.py``, ``Dockerfile``, ``.dockerignore`` and ``compose.yaml``.

    Call it last, when all of the layout's other files but the README are there: it lists what goes into the image.

    Args:
        candidate: What is exported.
        draft: What is known of it.
        folder: Where to write.
        sized: The container's size.
        also_editable: Patterns of further files that are not in the image.

    Returns:
        Path of the model, relative to the folder.
    """
    model = write_model(candidate, draft, folder)
    write_requirements(draft, folder, ["--constraint constraints.txt"])
    lines = constraints(draft.requirements)
    (folder / "constraints.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    (folder / "lock.py").write_bytes(Path(__file__).with_name("lock.py").read_bytes())
    write_compose(folder, sized)
    health = json.dumps(["python", "-c", _HEALTH.format(port=PORT)])
    text = _DOCKERFILE.format(
        python=python(), lock=LOCK, home=HOME, user=USER, port=PORT, health=health, command=json.dumps(sized.command)
    )
    (folder / "Dockerfile").write_text(text, encoding="utf-8")
    editable = (*EDITABLE, *also_editable)
    kept = [f for f in files_of(folder) if not any(fnmatchcase(f, pattern) for pattern in editable)]
    own = sorted({MANIFEST, LOCK, "README.md", CARD, BILL, *kept})
    # Whatever else lies in the folder, keys for example, does not get into the image.
    ignored = ["**", *(f"!{name}" for name in own)]
    (folder / ".dockerignore").write_text("".join(f"{line}\n" for line in ignored), encoding="utf-8")
    return model
