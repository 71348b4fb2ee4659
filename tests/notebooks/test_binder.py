"""What Binder will build, as repo2docker says; `make proof` builds that environment and runs notebooks in it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
QUICKSTART = "notebooks/01_quickstart.ipynb"
pytestmark = pytest.mark.long


def test_what_repo2docker_will_do(sources):
    command = [
        sys.executable,
        "-m",
        "repo2docker",
        "--no-build",
        "--debug",
        "--user-id",
        "1000",
        "--user-name",
        "jovyan",
    ]
    done = subprocess.run([*command, "."], cwd=sources, capture_output=True, text=True, check=True)
    assert "python=3.11" in done.stderr
    lines = [line.strip() for line in done.stdout.splitlines()]
    order = [
        next(i for i, line in enumerate(lines) if re.search(pattern, line))
        for pattern in (
            r"environment-2epy-2d3-2e11-",  # the base environment, by its lock file
            r"^COPY .* src/ \$\{REPO_DIR\}",  # all sources, which "." in the requirements needs
            r'bin/pip install --no-cache-dir -r "binder/requirements\.txt"$',
            r"^RUN \./binder/postBuild$",
        )
    ]
    assert order == sorted(order)
    assert sum("pip install" in line for line in lines) == 1
    assert not any("conda env update" in line or "apt.txt" in line for line in lines)


def test_the_link_opens_the_quickstart():
    links = re.findall(r"https://mybinder\.org/v2/[^\s)]*", (ROOT / "README.md").read_text("utf-8"))
    assert links
    assert all(link.endswith(f"?urlpath=lab/tree/{QUICKSTART}") for link in links)
    assert (ROOT / QUICKSTART).is_file()
