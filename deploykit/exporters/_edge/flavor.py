"""What differs between the formats that run on devices, and the files that are written of each."""

from __future__ import annotations

import math
import tempfile
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from deploykit.core.extras import provider
from deploykit.exporters._edge.cpp import CPP
from deploykit.exporters._edge.languages import text
from deploykit.exporters._edge.tensors import Fed, Given, Tensors
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task

#: Domain, version and names of operators.
Operators = list[tuple[str, int, list[str]]]
_TEMPLATES = Path(__file__).parent / "templates"
_LIBRARIES = (".so", ".dll", ".dylib", ".pyd")


class Flavor:
    """A format and the runtime that runs it on devices.

    Attributes:
        suffix: Ending of the model file.
        module: Import name of the runtime, to say how large it is here.
        npm: Packages that run it in a browser, with their versions.
        imports: Where a page in ``web`` finds them.
        load_runtime: The function of the page that loads them.
        words: What a README says of building: CMake's ``variable``, and the ``library`` it leads to.
        smaller: How the runtime gets smaller, a sentence.
        page_model: The file that the page loads, from its folder.
        boards: Whether microcontrollers run it.
        task: The task that reads a file's operators.
    """

    suffix: ClassVar[str]
    module: ClassVar[str]
    npm: ClassVar[Mapping[str, str]]
    imports: ClassVar[Mapping[str, str]]
    load_runtime: ClassVar[str]
    words: ClassVar[Mapping[str, str]]
    smaller: ClassVar[str]
    page_model: ClassVar[str]
    boards: ClassVar[bool] = False
    task: ClassVar[str]

    def operators(self, path: Path) -> Operators:
        """The operators of a file, read in a child process."""
        with tempfile.TemporaryDirectory() as scratch:
            asked = {"path": str(path), "scratch": scratch}
            found = shared().run(Task(self.task, asked, name=f"reading the operators of {path.name}"))
        return [(domain, version, names) for domain, version, names in found["operators"]]

    def check(self, found: Tensors) -> None:
        """Raise `ExportError` when the programs cannot run the file on one example."""

    def with_fixed_sizes(self, path: Path, target: Path) -> None:
        """Write the file that the page loads, where it is not the model itself: one without free sizes."""

    @abstractmethod
    def list_file(self, operators: Operators) -> tuple[str, str]:
        """Name and content of the file that lists the operators."""

    @abstractmethod
    def fill_cpp(self, found: Tensors) -> dict[str, str]:
        """What the C++ program's template is filled with."""

    @abstractmethod
    def fill_kotlin(self, found: Tensors) -> dict[str, str]:
        """What the Kotlin class's template is filled with."""

    @abstractmethod
    def fill_swift(self, found: Tensors) -> dict[str, str]:
        """What the Swift class's template is filled with."""

    @abstractmethod
    def web_type(self, dtype: str) -> str:
        """The type of a tensor in the browser."""

    @abstractmethod
    def unsupported(self, found: Tensors, language: str) -> str:
        """Why a language's binding cannot run the model, "" when it can."""

    def cpp(self, dtype: str) -> str:
        """A type of C++."""
        return CPP.types[dtype]

    def printed(self, place: int, given: Given) -> list[str]:
        """Lines of C++ that print an output, a name and its numbers."""
        shown = "%.9g" if given.scale or "float" in given.dtype else "%lld"
        cast = "static_cast<double>" if shown == "%.9g" else "static_cast<long long>"
        name = text(given.name).replace("%", "%%")
        return [
            f'  std::printf({name[:-1]}:");',
            f"  for (size_t i = 0; i < {given.count}; ++i) "
            f'std::printf(" {shown}", {cast}(model::Real{place}(output{place}[i])));',
            '  std::printf("\\n");',
        ]

    def runtime_size(self) -> str:
        """How large the runtime's libraries are as installed here, in words."""
        import importlib.metadata

        name, version = provider(self.module)
        files = importlib.metadata.files(name) or []
        sizes = {str(f): f.size or 0 for f in files if ".so" in f.name or f.suffix in _LIBRARIES}
        total = sum(sizes.values())
        return (
            f"{name} {version}: {total / 1e6:.1f} MB of libraries as installed here" if total else f"{name} {version}"
        )


def filled(name: str, values: Mapping[str, str]) -> str:
    """A template with its places filled.

    Args:
        name: A file in ``templates``.
        values: By the names between double percent signs.
    """
    content = (_TEMPLATES / name).read_text(encoding="utf-8")
    for key, value in values.items():
        content = content.replace(f"%%{key}%%", value)
    return content


def raw_count(fed: Fed) -> int:
    """How many values a raw example has."""
    return math.prod(fed.raw_shape)
