"""Generated parts of the reference: the command line from its parser, tables from the adapters."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploykit.converters._tensorflow_graph.rules import RULES
from deploykit.core.contract import KINDS
from deploykit.core.registry import registry
from deploykit.loading._contract import FORMATS
from deploykit.metrics._contract import Pooled
from docs.tools import buys, gpus, places, proved, tasks

FOLDER = Path(__file__).parents[1] / "reference" / "generated"
PROOFS = Path(__file__).parents[2] / "tests" / "proof" / "results.json"
#: Name of a page's table → package of the adapters, what one is called.
TABLES = {
    "formats": ("loading", "format"),
    "converters": ("converters", "converter"),
    "runtimes": ("runtimes", "runtime"),
    "metrics": ("metrics", "metric"),
    "layouts": ("exporters", "layout"),
    "engines": ("engines", "engine"),
}


def write() -> None:
    """Write all generated files; one that has not changed keeps its time, so that Sphinx does not read it again."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    pages = {"commands": "\n".join(commands()), "techniques": "\n".join(techniques())}
    pages.update({name: _table(name) for name in TABLES})
    pages["operators"] = f"{', '.join(sorted(RULES))}.\n"
    pages["buys"] = buys.page()
    pages["gpus"] = gpus.page()
    pages["tasks"] = tasks.page()
    pages["places"] = places.page()
    pages["proofs"] = proofs(json.loads(PROOFS.read_text("utf-8")))
    for name, text in pages.items():
        path = FOLDER / f"{name}.md"
        if not path.is_file() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def proofs(results: dict[str, dict[str, Any]]) -> str:
    """The table of what `make proof` has found, as its last run left it in ``tests/proof/results.json``."""
    lines = ["| what | against | versions | result | date |", "| --- | --- | --- | --- | --- |"]
    for what, line in sorted(results.items()):
        versions = {"deploykit": line["deploykit"], **line["versions"]}
        named = ", ".join(f"{name} {version}" for name, version in versions.items())
        cells = (what, line["against"], named, line["result"], line["date"])
        lines.append("| " + " | ".join(_plain(str(cell)) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def commands() -> Iterator[str]:
    """Every verb of the command line: usage, arguments and what its help says at the end."""
    from deploykit.cli.main import VERBS, _parser

    for verb in VERBS:
        parser, _ = _parser(verb)
        verbs = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
        chosen = verbs.choices[verb]
        formatter = argparse.HelpFormatter(chosen.prog, width=88)
        formatter.add_usage(chosen.usage, chosen._actions, chosen._mutually_exclusive_groups, "")
        yield f"(command-{verb})=\n## {verb}\n\n{_plain(chosen.description or '')}\n"
        yield f"```text\n{formatter.format_help().strip()}\n```\n"
        for action in chosen._actions:
            if action.help != argparse.SUPPRESS and action.dest != "help":
                yield f"`{_named(action, formatter)}`\n: {_plain(formatter._expand_help(action))}\n"
        if chosen.epilog:
            yield f"```text\n{chosen.epilog.strip()}\n```\n" if "\n" in chosen.epilog else f"{_plain(chosen.epilog)}\n"


def techniques() -> Iterator[str]:
    """Every technique with its parameters."""
    for adapter in registry("deploykit.transforms", "technique").all():
        yield f"(technique-{adapter.name})=\n## `{adapter.name}`\n\n{_plain(adapter.help)}\n"
        for variant in adapter.variants:
            reads = " or ".join(FORMATS.get(name).label for name in sorted(variant.accepts))
            uses = ", ".join(f"`{used}`" for used in variant.uses) or "none"
            yield f"- {_plain(f'{variant.label}, for {reads} models: {variant.help}')} Parameters: {uses}."
        yield ""
        if not adapter.parameters:
            yield "It has no parameters.\n"
        for p in adapter.parameters:
            allowed = " | ".join(p.choices) or p.bounds or {"bool": "true | false"}.get(p.kind, p.kind)
            unit = f" {p.unit}" if p.unit else ""
            default = {None: "none", True: "true", False: "false", "": "none"}.get(p.default, p.default)
            yield f"`{p.name}` ({_plain(allowed)}; default {_plain(str(default))}{unit})\n: {_plain(p.help)}\n"


def _table(name: str) -> str:
    package, what = TABLES[name]
    rows = [list(_cells(name, a)) for a in registry(f"deploykit.{package}", what).all()]
    lines = [_HEADS.get(name, [what, "what it is"])]
    lines += [["---"] * len(lines[0]), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines) + "\n"


_HEADS = {
    "formats": ["format", "name", "ending", "what it is"],
    "runtimes": ["runtime", "runs", "what it is", "good to know"],
    "converters": ["converter", "from", "to"],
    "layouts": ["layout", "what it is", "formats", "proof"],
    "metrics": ["metric", "what it is", "for", "labels", "better", "over", "setting", "equal to"],
}


def _cells(name: str, adapter: Any) -> Iterator[str]:
    match name:
        case "formats":
            yield adapter.label
            yield f"`{adapter.name}`"
            yield ", ".join(f"`{s}`" for s in adapter.suffixes) or "folder"
        case "converters":
            yield f"`{adapter.name}`"
            yield f"`{adapter.accepts}`"
            yield f"`{adapter.produces}`"
            return
        case "runtimes":
            yield f"`{adapter.name}`"
            yield ", ".join(f"`{f}`" for f in sorted(adapter.accepts))
        case _:
            yield f"`{adapter.name}`"
    yield _plain(adapter.help)
    if name == "metrics":
        yield from metric_facts(adapter)
    if name == "runtimes":
        yield _plain(adapter.note)
    if name == "layouts":
        yield ", ".join(FORMATS.get(f).label for f in sorted(adapter.accepts)) if adapter.accepts else "any"
        yield _plain(proved.layouts()[adapter.name])


def metric_facts(metric: Any) -> Iterator[str]:
    """What a metric is for, what it needs, which direction is better, how it is pooled, and its reference."""
    yield ", ".join(kind for kind in KINDS if kind in metric.kinds) or "any"
    yield "needed" if metric.truth == "labels" else "none"
    yield "higher" if metric.higher_is_better else "lower"
    yield "all examples together" if isinstance(metric, Pooled) else "the mean of examples"
    yield "" if metric.setting is None else _plain(f"{metric.setting:g}: {metric.setting_help}")
    yield _plain(metric.reference)


def _named(action: argparse.Action, formatter: argparse.HelpFormatter) -> str:
    value = formatter._format_args(action, action.metavar or action.dest.upper()) if action.nargs != 0 else ""
    if not action.option_strings:
        return value
    return ", ".join(f"{flag} {value}".strip() for flag in action.option_strings)


def _plain(text: str) -> str:
    """Text in which nothing is markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|$])", r"\\\1", " ".join(text.split()))
