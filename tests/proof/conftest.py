"""What proofs need, and the table of their results: `results.json`, which the docs show."""

import contextlib
import datetime
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "bench" / "peers"))

import environments

RESULTS = Path(__file__).parent / "results.json"
_FOLDER = Path(__file__).parents[2] / ".venv-proof"
_FOUND = pytest.StashKey[dict[str, dict[str, object]]]()


@pytest.fixture(scope="session")
def packages():
    """Installs packages of others beside ours: runs a script that can import them.

    A proof whose packages cannot be installed is left out, with pip's last words.
    """

    def install(*requirements, dependencies=True):
        folder = _FOLDER / "-".join(r.partition("=")[0].partition("[")[0] for r in requirements)
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--upgrade"]
        flags = ["--target", str(folder), *([] if dependencies else ["--no-deps"])]
        done = subprocess.run([*pip, *flags, *requirements], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"{', '.join(requirements)} cannot be installed: {done.stderr.strip().splitlines()[-1]}")

        def run(script, *arguments):
            path = os.pathsep.join([str(folder), str(Path(__file__).parents[2])])
            environment = {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}
            command = [sys.executable, Path(__file__).parent / "foreign" / script, *map(str, arguments)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout.splitlines()[-1])

        run.version = lambda name: next(
            d.version for d in importlib.metadata.distributions(path=[str(folder)]) if d.name.lower() == name
        )
        run.folder = folder
        return run

    return install


@pytest.fixture(scope="session")
def engine():
    """Makes an environment with an engine and what a folder's own requirements name: where its programs are.

    A proof whose engine cannot be installed is left out.
    """

    def made(name, *requirements, folder):
        try:
            programs = environments.made(_FOLDER / name, requirements) / "bin"
            pip = [programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "-r", folder / "requirements.txt"], check=True)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"{', '.join(requirements)} cannot be installed: {error}")
        # Its version is always the same, its code is not.
        subprocess.run([*pip, "--force-reinstall", "--no-deps", *folder.glob("*.whl")], check=True)
        return programs

    return made


@pytest.fixture
def versions(record_property):
    """Notes what was proved against, for the table."""
    return lambda **found: record_property("versions", found)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if (marker := item.get_closest_marker("proof")) is None:
        return report
    lines = item.config.stash.setdefault(_FOUND, {})
    line = lines.setdefault(
        marker.args[0], {"against": marker.kwargs["against"], "versions": {}, "result": "passed", "tests": 0}
    )
    for name, value in item.user_properties:
        if name == "versions":
            line["versions"].update(value)
    if report.when == "call" and report.passed:
        line["tests"] += 1
    elif report.failed:
        line["result"] = "failed"
    elif report.skipped and line["result"] != "failed":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        line["result"] = f"left out: {reason.removeprefix('Skipped: ')}"
    return report


def pytest_sessionfinish(session):
    """Lines of proofs that were run are renewed; the others stay as their last run left them."""
    found = session.config.stash.get(_FOUND, {})
    if not found:
        return
    kept = {}
    with contextlib.suppress(FileNotFoundError):
        kept = json.loads(RESULTS.read_text("utf-8"))
    today, own = datetime.date.today().isoformat(), importlib.metadata.version("deploykit")
    kept |= {what: {**line, "deploykit": own, "date": today} for what, line in found.items()}
    RESULTS.write_text(json.dumps(dict(sorted(kept.items())), indent=2, ensure_ascii=False) + "\n", "utf-8")


def pytest_terminal_summary(terminalreporter, config):
    for what, line in config.stash.get(_FOUND, {}).items():
        terminalreporter.write_line(f"{line['result']}: {what} ({line['against']})")
