"""Keys pressed in the Workbench belong to it, not to the notebook.

In command mode JupyterLab takes plain keys wherever the focus is inside a cell's output: the arrow keys of a list would
walk through the cells, and a typed letter could delete one. Lab leaves an element alone that says so.
"""

from __future__ import annotations

import anywidget

#: Runs before Lab's own listener, which is on the document. Keys with Ctrl, Alt or Cmd, and Escape, stay Lab's.
_SCRIPT = """
function onKey(event) {
  const target = event.target;
  if (!(target instanceof Element) || !target.closest(".dk-Workbench")) return;
  const ours = !event.ctrlKey && !event.metaKey && !event.altKey && event.key !== "Escape";
  target.toggleAttribute("data-lm-suppress-shortcuts", ours);
}
export default {
  render({ el }) {
    el.style.display = "none";
    window.addEventListener("keydown", onKey, true);
    return () => window.removeEventListener("keydown", onKey, true);
  },
};
"""


class Keys(anywidget.AnyWidget):  # type: ignore[misc]  # anywidget is not typed
    """Shows nothing; put it anywhere in the Workbench."""

    _esm = _SCRIPT
