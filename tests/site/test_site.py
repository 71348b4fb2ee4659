"""The documentation site builds without a warning, and every page is whole, offline and readable by all."""

import ast
import re
from urllib.parse import unquote, urlsplit

import pytest
from sphinx.util.inventory import InventoryFile

import deploykit
from deploykit.cli.main import VERBS, main
from deploykit.core.registry import registry
from docs.tools import notebooks, site

pytestmark = pytest.mark.notebook
#: Attributes with which an element loads something, and elements that load what they name.
_LOADS = {"script": "src", "img": "src", "source": "srcset", "iframe": "src", "video": "src", "audio": "src"}
_STYLE_URL = re.compile(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")\s]+)")


def test_internal_links_lead_somewhere(pages):
    wrong = []
    for name, page in pages.items():
        for given in page.all("a", "link"):
            link = urlsplit(given.get("href", ""))
            if link.scheme or link.netloc or not (link.path or link.fragment):
                continue
            target = (page.path.parent / unquote(link.path)).resolve() if link.path else page.path
            if not target.is_file():
                wrong.append(f"{name}: {given['href']}")
            elif link.fragment and target.suffix == ".html":
                other = pages[target.relative_to(site.HTML).as_posix()]
                if unquote(link.fragment) not in other.ids:
                    wrong.append(f"{name}: {given['href']} has no such heading")
    assert wrong == []


def test_nothing_is_loaded_from_elsewhere(pages):
    outside = []
    for name, page in pages.items():
        for tag, given in page.elements:
            loads = [given.get(_LOADS[tag], "")] if tag in _LOADS else []
            if tag == "link" and set(given.get("rel", "").split()) & {"stylesheet", "preload", "icon", "modulepreload"}:
                loads.append(given.get("href", ""))
            for address in loads:
                if re.match(r"(https?:)?//", address):
                    outside.append(f"{name}: {address}")
                elif tag == "img" and not address.startswith("data:"):
                    assert (page.path.parent / unquote(address)).is_file(), f"{name}: {address}"
    for style in site.HTML.rglob("*.css"):
        outside += [f"{style.name}: {address}" for address in _STYLE_URL.findall(style.read_text("utf-8"))]
    assert outside == []


def test_pictures_say_what_they_show_and_have_a_dark_version(pages):
    for name, page in pages.items():
        images = page.all("img")
        for given in images:
            words = given.get("alt", "")
            assert len(words) > 10, f"{name}: {given.get('src', '')[:60]}"
            assert not words.endswith((".svg", ".png")), f"{name}: a file name is not a description"
        light, dark = (
            [i for i in images if {f"only-{theme}", f"dk-{theme}"} & set(i.get("class", "").split())]
            for theme in ("light", "dark")
        )
        assert len(light) + len(dark) == len(images), f"{name} has a picture without a dark version"
        for one, other in zip(light, dark, strict=True):
            assert one["alt"] == other["alt"], name
            assert one["src"] != other["src"], name
            if not one["src"].startswith("data:"):
                assert re.sub(r"(\d*)\.png$", r"-dark\1.png", one["src"]) == other["src"], name
    assert sum(bool(page.all("img")) for page in pages.values()) >= 5


def test_every_public_name_and_every_error_is_in_the_reference(pages):
    with (site.HTML / "objects.inv").open("rb") as file:
        inventory = InventoryFile.load(file, "", lambda _base, path: path)
    named = {name for kind, found in inventory.items() if str(kind).startswith("py:") for name in found}
    missing = {name for name in deploykit.__all__ if name != "errors" and f"deploykit.{name}" not in named}
    assert missing == set(), "add them to a page in docs/reference/api"
    errors = {n for n, e in vars(deploykit.errors).items() if isinstance(e, type) and issubclass(e, Exception)}
    assert errors <= {name.rpartition(".")[2] for name in named}


def test_every_verb_and_adapter_is_in_the_reference(pages):
    commands = pages["reference/commands.html"]
    assert {f"command-{verb}" for verb in VERBS} <= commands.ids
    assert {"command-sweep", "command-serve"} <= commands.ids
    assert {f"technique-{t.replace('_', '-')}" for t in registry("deploykit.transforms", "technique").names()} <= {
        i.replace("_", "-") for i in pages["reference/techniques.html"].ids
    }
    text = "".join(pages[f"reference/{n}.html"].path.read_text("utf-8") for n in _TABLES)
    for package, what in {
        "runtimes": "runtime",
        "metrics": "metric",
        "exporters": "layout",
        "engines": "engine",
    }.items():
        for name in registry(f"deploykit.{package}", what).names():
            assert f">{name}<" in text, name


_TABLES = ("formats-and-runtimes", "metrics-and-layouts")


@pytest.mark.parametrize("name", notebooks.SMALL)
def test_a_tutorial_shows_its_output(name, pages):
    page = pages[f"tutorials/{name}.html"].path.read_text("utf-8")
    assert page.count('class="cell_output') >= 2
    assert "application/vnd.jupyter.widget" not in page
    assert "Traceback (most recent call last)" not in page


def test_python_in_guides_uses_public_names_only():
    blocks = []
    for path in [site.DOCS / "index.md", site.DOCS / "workbench.md", *site.DOCS.glob("*/*.md")]:
        blocks += re.findall(r"^```python\n(.*?)^```", path.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) > 15
    for block in blocks:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "dk":
                assert node.attr in deploykit.__all__, block
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "dk.Dataset":
                assert hasattr(deploykit.Dataset, node.attr), block


def test_commands_in_guides_exist(capsys):
    lines = []
    for path in site.DOCS.glob("*/*.md"):
        blocks = "".join(re.findall(r"^```\w*\n(.*?)^```", path.read_text("utf-8"), re.DOTALL | re.MULTILINE))
        lines += re.findall(r"^(?:- run: )?deploykit (\w+)(.*)$", blocks, re.MULTILINE)
    assert len(lines) > 15
    for verb, rest in lines:
        assert verb in VERBS
        main([verb, "--help"])
        shown = capsys.readouterr().out
        for flag in re.findall(r"--[a-z][a-z-]+", rest):
            assert flag in shown, (verb, flag)
