"""Netron's browser application, changed so that it is a quiet part of JupyterLab.

As it comes it asks an address service where the user is, shows a consent dialog, reports its use, and refuses to work
180 days after it was built. All of that is cut out here, and a script is added that tells JupyterLab what is selected.
Each change names the text it replaces: when another version of Netron has another text, nothing is served.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import NamedTuple

BRIDGE = "deploykit_bridge.js"
LINK = "deploykit_link.js"
TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "json": "application/json",
    "png": "image/png",
    "ico": "image/x-icon",
}


class NetronChangedError(Exception):
    """A file of Netron no longer holds what must be replaced in it."""


class Change(NamedTuple):
    """A text that stands in a file exactly once, and what takes its place."""

    old: str
    new: str


#: What is replaced in which file.
CHANGES: dict[str, tuple[Change, ...]] = {
    "index.html": (
        Change(
            '<script type="text/javascript" src="index.js"></script>',
            f'<script type="text/javascript" src="{BRIDGE}"></script>\n'
            f'<script type="text/javascript" src="{LINK}"></script>\n'
            '<script type="text/javascript" src="index.js"></script>',
        ),
    ),
    "browser.js": (
        # The check of the age, the question about cookies, the start of the reports.
        Change("await age();", ""),
        Change("await consent();", ""),
        Change("await telemetry();", ""),
        Change("await capabilities();", ""),
        Change(
            "const days = (new Date() - new Date(this._environment.date)) / (24 * 60 * 60 * 1000);", "const days = 0;"
        ),
        # Errors offer to report themselves to the outside where this is true.
        Change("packaged: this._meta.version && this._meta.version[0] !== '0.0.0',", "packaged: false,"),
        # A link must not make it load a model from elsewhere.
        Change("const url = hash ? hash : params.get('url');", "const url = null;"),
        Change("const gist = params.get('gist');", "const gist = null;"),
        # It would leave the frame; a link that was clicked opens a page of its own.
        Change("window.location = url;", "window.open(url, '_blank', 'noopener,noreferrer');"),
    ),
    "view.js": (
        # A node says its operator, the type of its numbers, and the name by which the Workbench calls its layer.
        Change(
            "        let hiddenTensors = false;",
            """        let hiddenTensors = false;
        for (const [name, text, all] of window.deploykitFacts?.(node) ?? []) {
            const item = list().argument(name, text);
            item.separator = ' ';
            item.tooltip = all;
            list().add(item);
        }""",
        ),
        # Edges say type and shape.
        Change(
            "content = content.length > 16 ? '' : content;",
            "content = content.length > 16 ? '' : `${type.dataType && type.dataType !== '?' ? `${type.dataType} ` : ''}"
            "${content}`;",
        ),
        # What cannot be drawn is said by JupyterLab's panel, in its words.
        Change(
            "await this._host.message(message, true, report ? 'Report' : 'OK');",
            "if (window.deploykitBroken?.(message)) { return; }\n"
            "        await this._host.message(message, true, report ? 'Report' : 'OK');",
        ),
        # What the bridge listens to and calls. Replaced by themselves: they only have to be there.
        *(
            Change(text, text)
            for text in (
                "view.View = class {",
                "    get activeTarget() {",
                "    get target() {\n        return this._target;",
                "    set target(value) {\n        if (this._target !== value) {",
                "    on(event, callback) {\n        this._listeners[event]",
                "    get selection() {\n        return this._selection;",
                "            this.emit('selectionchange', source);\n            return array;",
                "    activate(value, source) {\n        if (this._table.has(value)) {",
                "    scrollTo(selection, behavior) {",
                "    set zoom(value) {",
                "        this._table.set(node, obj);",
            )
        ),
    ),
    "index.js": (Change("window.__view__.start();", "window.__view__.start();"),),
    "base.js": (),
}
#: Files whose addresses of other machines are made unusable, in case a change above leaves one to be reached.
_WITHOUT_ADDRESSES = ("browser.js", "base.js")
_ADDRESS = re.compile(r"https?://(?!www\.w3\.org/)")


def read(name: str) -> tuple[bytes, str] | None:
    """A file of the application and its content type; None when there is none of that name.

    Raises:
        NetronChangedError: This version of Netron cannot be changed as it must be.
    """
    name = name or "index.html"
    kind = TYPES.get(name.rpartition(".")[2])
    changed = _changed()
    if name in changed:
        return changed[name], str(kind)
    source = files("netron") / name
    if kind is None or "/" in name or not source.is_file():
        return None
    return source.read_bytes(), kind


@cache
def _changed() -> dict[str, bytes]:
    found = {name: _change(name) for name in CHANGES}
    own = {BRIDGE: "netron_bridge.js", LINK: "netron_link.js"}
    return found | {name: files("deploykit_widgets").joinpath(file).read_bytes() for name, file in own.items()}


def _change(name: str) -> bytes:
    text = (files("netron") / name).read_text("utf-8")
    for old, new in CHANGES[name]:
        if (count := text.count(old)) != 1:
            raise NetronChangedError(
                f"netron {version('netron')}: {name} holds {count} times {old!r}, expected once. "
                "Install a version that deploykit declares: pip install 'deploykit[jupyter]'."
            )
        text = text.replace(old, new)
    if name in _WITHOUT_ADDRESSES:
        text = _ADDRESS.sub("blocked://", text)
    return text.encode()
