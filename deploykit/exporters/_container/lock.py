"""Pin what the image installs by hash: python lock.py writes requirements.lock.

It asks pip, with the package indexes that pip is set up for here, which files it would install, and installs nothing.
The versions are those that the model was measured with, see constraints.txt. Needs pip 23 or later on Linux, and the
same Python as the image: elsewhere, and for another processor,

    docker run --rm -v "$PWD:/srv" -w /srv python:VERSION-slim python lock.py
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
LOCK = FOLDER / "requirements.lock"


def main() -> str:
    """Write ``requirements.lock`` and say what it holds."""
    wanted = re.search(r"^ARG BASE=python:(\d+\.\d+)", (FOLDER / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if sys.platform != "linux" or (wanted and wanted[1] != here):
        version = wanted[1] if wanted else here
        command = f'docker run --rm -v "$PWD:/srv" -w /srv python:{version}-slim python lock.py'
        raise SystemExit(f"lock.py: This is Python {here} on {sys.platform}, the image is not. Remedy: {command}")
    found = sorted((_name(item), item) for item in _planned())
    lines = [f"# Written by lock.py for Python {here} on {sys.platform}."]
    for name, item in found:
        lines.append(f"{name}=={item['metadata']['version']} --hash=sha256:{_digest(item)}")
    LOCK.write_text("\n".join(["--find-links .", *lines, ""]), encoding="utf-8")
    return f"{LOCK.name}: {len(found)} packages, each with its SHA-256."


def _planned() -> list[dict[str, Any]]:
    """What pip would install into an empty environment."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    flags = ["--dry-run", "--ignore-installed", "--only-binary", ":all:", "--report", "-"]
    command = [*pip, *flags, "--requirement", str(FOLDER / "requirements.txt")]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)  # noqa: S603  our own interpreter
    if done.returncode:
        raise SystemExit("lock.py: pip cannot resolve requirements.txt, see above; requirements.lock is unchanged.")
    planned: list[dict[str, Any]] = json.loads(done.stdout)["install"]
    return planned


def _name(item: dict[str, Any]) -> str:
    return re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()


def _digest(item: dict[str, Any]) -> str:
    """SHA-256 of the file that pip would install: as its index gives it, or of the file in this folder."""
    place = item["download_info"]
    known = place.get("archive_info", {}).get("hashes", {}).get("sha256")
    if known:
        return str(known)
    url = urllib.parse.urlsplit(place["url"])
    if url.scheme != "file":
        raise SystemExit(f"lock.py: The index gives no SHA-256 for {place['url']}. Remedy: use another index.")
    return hashlib.sha256(Path(urllib.request.url2pathname(url.path)).read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.stdout.write(main() + "\n")
