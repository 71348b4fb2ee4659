"""Code: the script that does what was clicked."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from deploykit_widgets.commands import Commands
from deploykit_widgets.markup import text
from deploykit_widgets.script import script

#: Copies the text beside the button. A constant: nothing of a model or of data gets into it.
_COPY = (
    "const d=this.closest('.dk-code'),p=d.querySelector('pre'),s=d.querySelector('.dk-copied');"
    "const r=document.createRange();r.selectNodeContents(p);const g=getSelection();g.removeAllRanges();g.addRange(r);"
    "document.execCommand('copy');s.textContent='Copied';return false;"
)


class CodePanel:
    """The script, kept up to date, with a button that copies it.

    Args:
        commands: Gives the state.
        data: The Dataset that was given, to find its name in the notebook.
    """

    def __init__(self, commands: Commands, data: Any = None) -> None:
        self._commands = commands
        self._data = data
        self.content = widgets.HTML()
        self.widget = widgets.VBox([self.content])
        self.widget.add_class("dk-code-drawer")
        self.code = ""
        commands.state.observe(
            self.show, "model", "data", "space_choice", "goal", "picked", "chosen", "artifact", "server", "report"
        )
        self.show()

    def show(self) -> None:
        """Draw."""
        code = script(self._commands.state, _variable(self._data))
        if code == self.code:
            return
        self.code = code
        self.content.value = (
            '<div class="dk-code" role="region" aria-label="Code for this"><div class="dk-heading">'
            '<h3>Code for this</h3><span class="dk-soft">reproduces what you see</span><span class="dk-grow"></span>'
            f'<span class="dk-copied dk-soft" role="status"></span><button type="button" onclick="{_COPY}">'
            f'Copy as Python</button></div><pre tabindex="0">{text(code)}</pre></div>'
        )


def _variable(data: Any) -> str:
    """Name of an object in the notebook, "" when it has none."""
    if data is None:
        return ""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return ""
    shell = get_ipython()
    names = shell.user_ns.items() if shell is not None else ()
    return next((n for n, v in tuple(names) if v is data and not n.startswith("_")), "")
