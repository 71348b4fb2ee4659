"""Netron's browser application, patched to run quietly inside JupyterLab.

The original asks a geolocation service where the user is, shows a consent dialog, reports usage, and refuses to work
180 days after it was built. All of that is removed here, and a script is added that informs JupyterLab of selections.
Its page runs in a sandbox, with an origin of its own: it has no access to JupyterLab, which reads files for it.
Each patch names the text it replaces; if a version of Netron has different text, nothing is served.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import NamedTuple

BRIDGE = "deploykit_bridge.js"
LINK = "deploykit_link.js"
WORKER = "deploykit_worker.js"
TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "json": "application/json",
    "png": "image/png",
    "ico": "image/x-icon",
}


class NetronChangedError(Exception):
    """A file of Netron no longer contains the text that must be replaced."""


class Change(NamedTuple):
    """A text that occurs exactly once in a file, and its replacement."""

    old: str
    new: str


#: Replacements by file.
CHANGES: dict[str, tuple[Change, ...]] = {
    "index.html": (
        Change(
            '<script type="text/javascript" src="index.js"></script>',
            f'<script type="text/javascript" src="{BRIDGE}"></script>\n'
            f'<script type="text/javascript" src="{LINK}"></script>\n'
            f'<script type="text/javascript" src="{WORKER}"></script>\n'
            '<script type="text/javascript" src="index.js"></script>',
        ),
        # It allows no workers but the server's; the policy that the page is served with is stricter otherwise.
        Change(
            """<meta http-equiv="Content-Security-Policy" content="script-src 'self'; frame-src 'none'">""",
            "",
        ),
        # The bridge reads its rules, which only a page of the same origin may do otherwise.
        Change(
            '<link rel="stylesheet" type="text/css" href="grapher.css">',
            '<link rel="stylesheet" type="text/css" href="grapher.css" crossorigin="anonymous">',
        ),
    ),
    "browser.js": (
        # The age check, the cookie consent, and the start of telemetry.
        Change("await age();", ""),
        Change("await consent();", ""),
        Change("await telemetry();", ""),
        Change("await capabilities();", ""),
        Change(
            "const days = (new Date() - new Date(this._environment.date)) / (24 * 60 * 60 * 1000);", "const days = 0;"
        ),
        # If this is true, error dialogs offer to send a report.
        Change("packaged: this._meta.version && this._meta.version[0] !== '0.0.0',", "packaged: false,"),
        # A link must not make it load a model from another address.
        Change("const url = hash ? hash : params.get('url');", "const url = null;"),
        Change("const gist = params.get('gist');", "const gist = null;"),
        # Nothing but JupyterLab can read files of the user's.
        Change(
            "    async _request(url, headers, encoding, callback, timeout) {",
            """    async _request(url, headers, encoding, callback, timeout) {
        const given = this.window.deploykitRead?.(url);
        if (given) {
            const bytes = await given;
            return encoding ? new TextDecoder(encoding).decode(bytes) : new base.BinaryStream(bytes);
        }""",
        ),
        # Workers must have the page's origin, which no file of the server has in a sandbox.
        Change(
            "return new window.Worker(`${id}.js`, { type: 'module' });",
            "const source = new Blob([window.deploykitWorker], { type: 'text/javascript' });\n"
            "        return new window.Worker(URL.createObjectURL(source));",
        ),
        # It would leave the frame; clicked links open a new page instead.
        Change("window.location = url;", "window.open(url, '_blank', 'noopener,noreferrer');"),
    ),
    "view.js": (
        # A node shows its operator, its dtype, and the Workbench's name for its layer.
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
        # Edges show dtype and shape.
        Change(
            "content = content.length > 16 ? '' : content;",
            "content = content.length > 16 ? '' : `${type.dataType && type.dataType !== '?' ? `${type.dataType} ` : ''}"
            "${content}`;",
        ),
        # JupyterLab's panel explains what cannot be drawn.
        Change(
            "await this._host.message(message, true, report ? 'Report' : 'OK');",
            "if (window.deploykitBroken?.(message)) { return; }\n"
            "        await this._host.message(message, true, report ? 'Report' : 'OK');",
        ),
        # What the bridge listens to and calls. Replaced by themselves: they only have to exist.
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
#: Files that become one script in front of the page's, from which it starts its worker: it must not import anything.
WORKER_CHANGES: dict[str, tuple[Change, ...]] = {
    "dagre.js": (Change("export const { layout, Graph } = dagre;", ""),),
    "worker.js": (
        Change("    import('./dagre.js');\n", ""),
        Change("const dagre = await import('./dagre.js');", ""),
    ),
}
#: Files in which external addresses are disabled, in case the patches above leave one reachable.
_WITHOUT_ADDRESSES = ("browser.js", "base.js")
#: A kind of file and its endings, as Netron registers them.
_KIND = re.compile(r"this\.register\('[^']*', \[([^\]]*)\]")
_ENDING = re.compile(r"'(\.[^']+)'")
_ADDRESS = re.compile(r"https?://(?!www\.w3\.org/)")


def read(name: str) -> tuple[bytes, str] | None:
    """A file of the application and its content type; None if there is no file of that name.

    Raises:
        NetronChangedError: This version of Netron cannot be patched.
    """
    name = name or "index.html"
    kind = TYPES.get(name.rpartition(".")[2])
    changed = _changed()
    if name in changed:
        return changed[name], str(kind)
    if kind is None or name not in _names():
        return None
    return (files("netron") / name).read_bytes(), kind


@cache
def endings() -> frozenset[str]:
    """Endings of the files that Netron draws; it takes no others. Empty if it is not installed."""
    try:
        text = (files("netron") / "view.js").read_text("utf-8")
    except ModuleNotFoundError:
        return frozenset()
    return frozenset(ending for kind in _KIND.findall(text) for ending in _ENDING.findall(kind))


@cache
def _names() -> frozenset[str]:
    """Netron's files. What a request names never becomes a path unless it is one of them."""
    return frozenset(file.name for file in files("netron").iterdir() if file.is_file())


@cache
def _changed() -> dict[str, bytes]:
    found = {name: _change(name, changes).encode() for name, changes in CHANGES.items()}
    own = {BRIDGE: "netron_bridge.js", LINK: "netron_link.js"}
    found |= {name: files("deploykit_widgets.server").joinpath(file).read_bytes() for name, file in own.items()}
    worker = "\n".join(_change(name, changes) for name, changes in WORKER_CHANGES.items())
    return found | {WORKER: f"window.deploykitWorker = {json.dumps(worker)};\n".encode()}


def _change(name: str, changes: tuple[Change, ...]) -> str:
    text = (files("netron") / name).read_text("utf-8")
    for old, new in changes:
        if (count := text.count(old)) != 1:
            raise NetronChangedError(
                f"netron {version('netron')}: {name} holds {count} times {old!r}, expected once. "
                "Install a version that deploykit declares: pip install 'deploykit[jupyter]'."
            )
        text = text.replace(old, new)
    if name in _WITHOUT_ADDRESSES:
        text = _ADDRESS.sub("blocked://", text)
    return text
