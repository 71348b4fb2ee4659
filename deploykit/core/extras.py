"""Optional packages: import them where they are used, and say how to install the one that is missing."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from types import ModuleType

from deploykit.core.errors import MissingExtraError

#: Distribution names that differ from their import names.
_DISTRIBUTIONS = {
    "ai_edge_litert": "ai-edge-litert",
    "jupyter_server": "jupyter-server",
    "mlflow": "mlflow-skinny",
    "litert_quantizer": "litert-quantizer",
    "onnx_ir": "onnx-ir",
    "onnxruntime_ep_openvino": "onnxruntime-ep-openvino",
    "onnxconverter_common": "onnxconverter-common",
    "tensorflow_model_optimization": "tensorflow-model-optimization",
    "tensorrt_rtx": "tensorrt-rtx-cu12",
    "tf_keras": "tf-keras",
    "tvm": "apache-tvm",
    "IPython": "ipython",
    "model_signing": "model-signing",
    "OpenSSL": "pyopenssl",
    "cyclonedx": "cyclonedx-python-lib",
    "packageurl": "packageurl-python",
    "PIL": "pillow",
    "opentelemetry": "opentelemetry-exporter-otlp",
    "pynvml": "nvidia-ml-py",
    "yaml": "pyyaml",
    "vl_convert": "vl-convert-python",
}
#: What each extra of pyproject.toml adds, by import names, without the extras that it includes.
EXTRAS = {
    "onnx": ("onnxruntime",),
    "tflite": ("ai_edge_litert",),
    "openvino": ("openvino",),
    "onnx-openvino": ("onnxruntime_ep_openvino",),
    "tensorrt": ("tensorrt_rtx",),
    "tvm": ("tvm",),
    "nncf": ("nncf",),
    "executorch": ("executorch",),
    "torch": ("onnxscript", "torch", "torchao"),
    "sweep": (
        "altair", "cyclonedx", "h5py", "isal", "litert_quantizer", "onnx", "onnx_ir", "onnxslim", "packageurl",
        "packaging", "pandas", "scipy", "sympy", "vl_convert", "yaml",
    ),
    "tensorflow": (
        "keras", "onnxconverter_common", "tensorflow", "tensorflow_model_optimization", "tf2onnx", "tf_keras",
    ),
    "jupyter": (
        "IPython", "ipykernel", "ipywidgets", "jupyter_server", "jupyterlab", "netron", "papermill", "tornado",
        "traitlets",
    ),
    "search": ("optuna",),
    "text": ("tokenizers",),
    "arrow": ("pyarrow",),
    "dask": ("distributed",),
    "mlflow": ("alembic", "mlflow", "sqlalchemy"),
    "tensorboard": ("tensorboard",),
    "otel": ("opentelemetry",),
    "protect": ("cryptography",),
    "sign": ("OpenSSL", "model_signing"),
    "keyring": ("keyring",),
    "gpu": ("pynvml",),
    "fpga": ("hls4ml",),
    "audio": ("soundfile",),
    "video": ("av",),
    "sklearn": ("onnxmltools", "skl2onnx"),
}  # fmt: skip

#: How the version ends of what exported folders bring for their servers.
SERVER = "+server"
#: Modules that ``import openvino`` and ``import nncf`` pull in: they report to a server over the network.
_TALKATIVE = ("openvino_telemetry", "openvino.tools.ovc")
#: What cannot be installed on Windows: what needs it is left out of plans there, and nothing else is.
_NOT_ON_WINDOWS = frozenset({"ai_edge_litert", "litert_quantizer"})


def require(module: str, extra: str = "") -> ModuleType:
    """Import a module that may not be installed.

    Args:
        module: Dotted import name.
        extra: The deploykit extra that installs it; empty: the one that `EXTRAS` names.

    Raises:
        MissingExtraError: The package is not installed; names the pip line.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name.split(".")[0]):
            raise
        raise _missing(module, extra) from error


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Keep modules that talk to a server from being imported; what imports them does without them."""
    absent = [m for m in _TALKATIVE if m not in sys.modules]
    for module in absent:
        sys.modules[module] = None  # type: ignore[assignment]  # Python's way to make an import fail
    try:
        yield
    finally:
        for module in absent:
            sys.modules.pop(module, None)


def import_all(modules: Iterable[str]) -> None:
    """Import modules ahead of their use, `silenced`; those that cannot be are passed over: their use says why."""
    with silenced():
        for module in modules:
            with contextlib.suppress(ImportError):
                importlib.import_module(module)


def needs(module: str) -> None:
    """Check that a package is installed, without importing it.

    Raises:
        MissingExtraError: It is not; names the pip line.
    """
    if not installed(module):
        raise _missing(module)


def check(extra: str) -> None:
    """Check at the start of a verb that an extra is installed, before anything else runs.

    Args:
        extra: Its name.

    Raises:
        MissingExtraError: A package of it is not installed; names the pip line.
    """
    spared = _NOT_ON_WINDOWS if sys.platform == "win32" else frozenset()
    if absent := [module for module in EXTRAS[extra] if module not in spared and not installed(module)]:
        names = ", ".join(map(distribution, absent))
        raise MissingExtraError(f"This needs packages that are not installed: {names}.", remedy=pip_line(absent, extra))


def explained(error: ModuleNotFoundError) -> MissingExtraError | None:
    """A failed import of what is not installed as an error that names the pip line; None for any other module.

    That is an optional package, or, in a server's environment, a part of deploykit that makes what is served.
    """
    module = (error.name or "").partition(".")[0]
    if module == "deploykit" and version(module).endswith(SERVER):
        return MissingExtraError(
            f"Here is the part of deploykit that serves what it exported; it has no {error.name}.",
            remedy="run this where all of deploykit is installed: pip install deploykit, in another environment.",
        )
    if not any(module in modules for modules in EXTRAS.values()):
        return None
    return _missing(module)


def _missing(module: str, extra: str = "") -> MissingExtraError:
    return MissingExtraError(
        f"The package {distribution(module)!r} is not installed.", remedy=pip_line([module], extra)
    )


def pip_line(modules: Iterable[str], extra: str = "") -> str:
    """The command that installs packages.

    Args:
        modules: Import names.
        extra: The extra that installs them all; empty: those that `EXTRAS` names, or none.
    """
    tops = {module.partition(".")[0] for module in modules}
    names = [extra] if extra else [name for name, held in EXTRAS.items() if tops & set(held)]
    return f"pip install 'deploykit[{','.join(names)}]'" if names else "pip install deploykit"


def distribution(module: str) -> str:
    """The name to give pip for an import name."""
    top = module.partition(".")[0]
    return _DISTRIBUTIONS.get(top, top)


def installed(module: str) -> bool:
    """Whether a module could be imported; imports nothing."""
    top = module.partition(".")[0]
    return top in sys.modules or _found(top, *stamps(sys.path))


def version(module: str) -> str:
    """Version of the distribution that holds a module, "" when it is not installed."""
    return provider(module)[1]


def provider(module: str) -> tuple[str, str]:
    """The installed distribution that holds a module, and its version.

    Distributions need not be called like what they hold: ``onnxruntime-gpu`` holds ``onnxruntime``.

    Args:
        module: Dotted import name.

    Returns:
        Name and version; the name to give pip and "" when none is installed.
    """
    name, now = distribution(module), stamps(sys.path)
    if (found := _version(name, *now)) or not installed(module):
        return name, found
    return _holders(*now).get(module.partition(".")[0], (name, ""))


def plugin(module: str) -> tuple[str, str] | None:
    """Name and version of the distribution that offers a module's package to deploykit, None when none does.

    Args:
        module: Dotted import name of an adapter's file.
    """
    return _offers(*stamps(sys.path)).get(module.partition(".")[0])


def stamps(folders: Sequence[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Folders and when each of them changed: what is found in them is asked for thousands of times in a plan."""
    return tuple(folders), tuple(_changed(folder) for folder in folders)


def _changed(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns  # noqa: PTH116  a third of the time of Path.stat
    except OSError:
        return 0


@lru_cache(maxsize=512)
def _found(module: str, _folders: tuple[str, ...], _changes: tuple[int, ...]) -> bool:
    importlib.invalidate_caches()
    return importlib.util.find_spec(module) is not None


@lru_cache(maxsize=512)
def _version(name: str, _folders: tuple[str, ...], _changes: tuple[int, ...]) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


@lru_cache(maxsize=4)
def _holders(_folders: tuple[str, ...], _changes: tuple[int, ...]) -> dict[str, tuple[str, str]]:
    """Import name → the distribution that holds it. Reads the files of all distributions."""
    found = {}
    for module, names in importlib.metadata.packages_distributions().items():
        name = min(names)
        found[module] = (name, _version(name, _folders, _changes))
    return found


@lru_cache(maxsize=4)
def _offers(_folders: tuple[str, ...], _changes: tuple[int, ...]) -> dict[str, tuple[str, str]]:
    """Package → the distribution that offers adapters from it by an entry point."""
    found: dict[str, tuple[str, str]] = {}
    for holder in importlib.metadata.distributions():
        for point in holder.entry_points:
            package = point.value.partition(":")[0].partition(".")[0]
            if point.group.startswith("deploykit.") and package != "deploykit":
                found.setdefault(package, (holder.name, holder.version))  # the first on the path is the one imported
    return found
