"""What the README says of the code is true of the code."""

import ast
import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import deploykit
from deploykit.cli.main import VERBS, main
from deploykit.core.registry import registry
from docs.tools import proved

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text("utf-8")


def test_the_tables_are_what_the_adapters_say():
    spec = spec_from_file_location("readme_tables", Path(__file__).with_name("readme_tables.py"))
    tables = module_from_spec(spec)
    spec.loader.exec_module(tables)
    assert TEXT.count("<!-- table: ") == 5
    assert tables.rendered(TEXT) == TEXT, "run make readme-tables"


def test_every_layout_says_how_it_is_proved():
    assert proved.layouts().keys() == set(registry("deploykit.exporters", "layout").names())


def test_the_lines_of_python_use_public_names_only():
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    tree = ast.parse(code)
    used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and getattr(n.value, "id", "") == "dk"}
    assert used <= set(deploykit.__all__)
    assert {"load", "sweep", "export", "serve"} <= used
    assert len(tree.body) <= 10
    for owner, names in {"report": ["best"], "best": ["explain"], "server": ["predict"], "data": ["sample"]}.items():
        calls = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and getattr(n.value, "id", "") == owner}
        assert set(names) <= calls
    assert hasattr(deploykit.Report, "best")
    assert hasattr(deploykit.Dataset, "sample")


def test_the_commands_are_verbs_with_these_flags(capsys):
    blocks = "".join(re.findall(r"^```\w*\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE))
    lines = re.findall(r"^deploykit (\w+) +(.*)$", blocks, re.MULTILINE)
    assert {verb for verb, _ in lines} <= set(VERBS)
    assert len(lines) >= 8
    for verb, rest in lines:
        main([verb, "--help"])
        shown = capsys.readouterr().out
        for flag in re.findall(r"--[a-z-]+", rest):
            assert flag in shown, (verb, flag)


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    told = set(re.findall(r"(?:^|`)make ([a-z-]+)", TEXT, re.MULTILINE))
    told |= set(re.findall(r"`make ([a-z-]+)", (ROOT / "CONTRIBUTING.md").read_text("utf-8")))
    assert {"demo", "lab", "test"} <= told
    for target in told:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_lead_somewhere():
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/workbench.md", "notebooks/data/README.md"):
        page = ROOT / name
        text = page.read_text("utf-8")
        links = re.findall(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)", text)
        for link in links + re.findall(r'(?:src|srcset)="([^"]+)"', text):
            assert (page.parent / link).exists(), f"{name} links to {link}"
