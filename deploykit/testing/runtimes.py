"""What every runtime must do. A test module derives from `RuntimeConformance` and parametrizes it with the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploykit.core.candidate import Target
from deploykit.core.errors import DeviceError, SettingError, UnsupportedModelError
from deploykit.core.serial import dump
from deploykit.runtimes._compile import COMPILED, CompileJob
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Report, Task


def call(runtime: str, what: str, **arguments: Any) -> dict[str, Any]:
    """Call a function of this module in a new child of the runtime's group."""
    group = RUNTIMES.get(runtime).group
    task = Task(
        f"deploykit.testing.runtimes:{what}", {"runtime": runtime, **arguments}, group, 120.0, fresh=True, name=what
    )
    return shared().run(task)


def devices(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: the runtime's devices."""
    return {"devices": [d.to_json() for d in RUNTIMES.get(arguments["runtime"]).devices()]}


def run(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: open a model and predict seeded random images of shape ``shape``, ``count`` of them, in [0, ``scale``)."""
    import numpy as np

    runtime = RUNTIMES.get(arguments["runtime"])
    device = arguments.get("device") or runtime.devices()[0].name
    target = Target(arguments["runtime"], device, arguments.get("threads", 1))
    session = runtime.open(Path(arguments["path"]), target, arguments["format"])
    images = np.random.default_rng(0).random((arguments["count"], *arguments["shape"]))
    images = (images * arguments.get("scale", 1)).astype(arguments["dtype"])
    images.flags.writeable = False  # as a server gives them, which does not copy what it was sent
    outputs = session.predict({arguments.get("input", session.inputs[0].name): images})
    session.close()
    return {
        "inputs": [s.to_json() for s in session.inputs],
        "outputs": [s.to_json() for s in session.outputs],
        "values": [np.asarray(v, np.float64).tolist() for v in outputs.values()],
        "names": list(outputs),
        "delegate": session.delegate,
    }


def compiled(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: compile a model for the runtime's first device."""
    runtime = RUNTIMES.get(arguments["runtime"])
    device = runtime.devices()[0].name
    job = CompileJob(Path(arguments["path"]), Path(arguments["target"]), arguments["format"], device)
    runtime.compile(job)
    return {"written": job.target.exists(), "notes": job.notes}


def profile(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: the time of each node of a model on a seeded random image."""
    import numpy as np

    target = Target(arguments["runtime"])
    runtime = RUNTIMES.get(arguments["runtime"])
    path = Path(arguments["path"])
    session = runtime.open(path, target, arguments["format"])
    image = np.random.default_rng(0).random((1, *arguments["shape"])).astype("float32")
    inputs = session.arrange({session.inputs[0].name: image})
    session.close()
    return {"nodes": [node.to_json() for node in runtime.profile(path, target, arguments["format"], [inputs], 12)]}


def _is_ready(name: str) -> bool:
    """Whether the runtime's first device is there; that of a runtime without CPU may not be."""
    return RUNTIMES.get(name).cpu or bool(call(name, "devices")["devices"][0]["available"])


def _check_refused(name: str, **arguments: Any) -> None:
    """Whatever would run on a device that is absent is refused, with what to do."""
    try:
        call(name, "run", **arguments)
    except DeviceError as error:
        assert error.remedy  # noqa: PT017
    else:
        raise AssertionError("a model ran on a device that is absent")


class RuntimeConformance:
    """Derive, and give fixtures ``name`` (a runtime) and ``model`` (path, format, shape of an example)."""

    def test_facts(self, name: str) -> None:
        """Declared facts are complete."""
        runtime = RUNTIMES.get(name)
        assert runtime.label
        assert runtime.help
        assert runtime.accepts
        assert runtime.native_to or not runtime.default  # what every sweep tries is at home with some format
        assert not runtime.missing()
        assert all(runtime.versions().values())

    def test_devices_are_listed_with_reasons(self, name: str) -> None:
        """The CPU is there where the runtime runs on it; absent devices say why."""
        found = {d["name"]: d for d in call(name, "devices")["devices"]}
        assert not RUNTIMES.get(name).cpu or found["cpu"]["available"]
        assert all(d["detail"] for d in found.values())

    def test_every_batch_size_gives_the_same_outputs(self, name: str, model: tuple[Path, str, Any]) -> None:
        """One example at a time or many: outputs agree, and come in the order of the examples."""
        path, format_name, shape = model
        arguments = {"path": str(path), "format": format_name, "shape": list(shape), "dtype": "float32"}
        if not _is_ready(name):
            _check_refused(name, count=1, **arguments)
            return
        many = call(name, "run", count=5, **arguments)
        again = call(name, "run", count=1, threads=2, **arguments)
        assert len(many["values"][0]) == 5
        difference = [abs(a - b) for a, b in zip(many["values"][0][0], again["values"][0][0], strict=True)]
        assert max(difference) < 1e-5
        assert many["delegate"] == "cpu" or not RUNTIMES.get(name).cpu
        assert many["values"][0][0] != many["values"][0][1]

    def test_compiled_files_run_like_the_model(self, name: str, model: tuple[Path, str, Any], tmp_path: Path) -> None:
        """A runtime that compiles opens what it has written; any other one refuses compiled files."""
        path, format_name, shape = model
        arguments = {"count": 3, "shape": list(shape), "dtype": "float32"}
        if not RUNTIMES.get(name).compiles:
            try:
                call(name, "run", path=str(path), format=COMPILED, **arguments)
            except UnsupportedModelError as error:
                assert COMPILED in str(error)  # noqa: PT017
            else:
                raise AssertionError("a compiled file was accepted by a runtime that compiles nothing")
            return
        target = tmp_path / COMPILED
        assert call(name, "compiled", path=str(path), format=format_name, target=str(target))["written"]
        if not _is_ready(name):
            _check_refused(name, path=str(target), format=COMPILED, **arguments)
            return
        found = call(name, "run", path=str(target), format=COMPILED, **arguments)
        direct = call(name, "run", path=str(path), format=format_name, **arguments)
        assert found["inputs"] == direct["inputs"]
        assert found["values"] == direct["values"]
        assert dump(RUNTIMES.get(name).device_facts("cpu")), "facts of the device are plain data: they are part of keys"

    def test_nodes_are_profiled_or_refused(self, name: str, model: tuple[Path, str, Any]) -> None:
        """A runtime that says so gives times of nodes, heavy ones among them; any other one refuses."""
        path, format_name, shape = model
        arguments = {"path": str(path), "format": format_name, "shape": list(shape)}
        if not _is_ready(name):
            assert not RUNTIMES.get(name).profiles
            return
        try:
            nodes = call(name, "profile", **arguments)["nodes"]
        except UnsupportedModelError as error:
            assert not RUNTIMES.get(name).profiles
            assert "no per-layer profiler" in str(error)  # noqa: PT017
            return
        assert RUNTIMES.get(name).profiles
        assert sum(node["microseconds"] for node in nodes) > 0
        assert {"conv", "matmul"} & {node["kind"] for node in nodes}
        assert all(node["name"] and node["operator"] and node["kernel"] for node in nodes)

    def test_an_unknown_device_is_refused(self, name: str, model: tuple[Path, str, Any]) -> None:
        """The error lists the known devices."""
        path, format_name, shape = model
        try:
            call(name, "run", count=1, path=str(path), format=format_name, shape=list(shape), dtype="float32",
                 device="abacus")  # fmt: skip
        except SettingError as error:
            assert "abacus" in str(error)  # noqa: PT017
            assert RUNTIMES.get(name).devices()[0].name in str(error)  # noqa: PT017
        else:
            raise AssertionError("an unknown device was accepted")

    def test_a_foreign_format_is_refused(self, name: str, model: tuple[Path, str, Any]) -> None:
        """The error names what the runtime runs."""
        path, _, shape = model
        try:
            call(name, "run", count=1, path=str(path), format="papyrus", shape=list(shape), dtype="float32")
        except UnsupportedModelError as error:
            assert "papyrus" in str(error)  # noqa: PT017
            assert all(f in str(error) for f in RUNTIMES.get(name).accepts)  # noqa: PT017
        else:
            raise AssertionError("a foreign format was accepted")
