"""Findings as Markdown for a pull request, and as JUnit XML for a CI server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

#: Characters that XML 1.0 cannot hold, and those that Markdown takes for markup.
_UNXML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&@])")


def markdown(summary: str, lines: Sequence[tuple[str, str]]) -> str:
    """A heading and a table. Names from files can form no markup."""
    rows = [f"| {heading} | {_escaped(text)} |" for heading, text in lines]
    return "\n".join([f"### {_escaped(summary)}", "", "| | |", "|---|---|", *rows, ""])


def _escaped(text: str) -> str:
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def junit(suite: str, cases: Sequence[tuple[str, str, str]], output: str) -> str:
    """A test suite.

    Args:
        suite: Its name.
        cases: Name, verdict (``"ACCEPT"`` passes, others are failures of that type) and a sentence.
        output: What the suite prints.
    """
    from xml.etree import ElementTree

    failed = sum(verdict != "ACCEPT" for _, verdict, _ in cases)
    counts = {"tests": str(len(cases)), "failures": str(failed), "errors": "0", "skipped": "0"}
    top = ElementTree.Element("testsuites", counts)
    one = ElementTree.SubElement(top, "testsuite", {"name": suite, **counts})
    for name, verdict, text in cases:
        case = ElementTree.SubElement(one, "testcase", {"classname": suite, "name": name})
        if verdict != "ACCEPT":
            failure = ElementTree.SubElement(case, "failure", {"type": verdict, "message": _UNXML.sub("?", text)})
            failure.text = _UNXML.sub("?", f"{verdict}. {text}")
    ElementTree.SubElement(one, "system-out").text = _UNXML.sub("?", output)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(top, "unicode") + "\n"


def kept(text: str, path: str | Path | None) -> str:
    """The text, which is also written to a file if one is given."""
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, "utf-8")
    return text
