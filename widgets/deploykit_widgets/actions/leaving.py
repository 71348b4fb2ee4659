"""What to do with a chosen candidate: export it, serve it, and query the server."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import deploykit as dk
from deploykit.core.errors import ExportError, PortInUseError
from deploykit.core.registry import registry
from deploykit_widgets.actions.long_work import LongWork
from deploykit_widgets.code.clients import calls
from deploykit_widgets.state import Check

#: The steps of an export, in order.
EXPORT_STEPS = (
    Check("Writing the folder"),
    Check("Comparing files with their digests"),
    Check("Running the model again on the golden inputs"),
)


class Leaving(LongWork):
    """The export and serve commands, a part of `Commands`."""

    def export(self, folder: str, layout: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Export the chosen candidate; it is shown only after verification.

        Raises:
            SettingError: A parameter of the layout is out of range.
        """
        state = self.state
        choice = state.chosen
        if self._refuses("export", "An export is running. Wait for it."):
            return
        if choice is None:
            state.problem("export", "Nothing is chosen yet. Run the sweep first.", until=("chosen",))
            return
        if not folder.strip():
            state.problem("export", "Give a folder to export to.")
            return
        path = Path(folder).expanduser().absolute()
        if state.server is not None and Path(state.server.artifact.path) == path:
            said = "The server uses this folder. Stop it first, or choose a different folder."
            state.problem("export", said, until=("server",))
            return
        values = registry("deploykit.exporters", "layout").get(layout).complete(parameters or {})
        key = choice.key
        state.change(checks=EXPORT_STEPS)

        def work() -> Any:
            self._step(0, "running")
            artifact = dk.export(choice, path, layout=layout, parameters=values)
            self._step(0, "done", f"{len(artifact.manifest.files) + 1} files written.")
            self._step(1, "running")
            if changed := artifact.problems():
                raise ExportError(" ".join(changed), remedy="export again.")
            self._step(1, "done", "Digests match the manifest.")
            self._step(2, "running")
            found = dk.verify(artifact, trusted=choice.report.model.trusted)
            found.require()
            within = f"within {found.difference:.1g} of their range" if found.difference else "exactly"
            self._step(2, "done", f"Golden outputs reproduced {within} (limit {found.limit:.1g}) in a new process.")
            return artifact

        self._long(
            "export",
            work,
            lambda artifact: state.change(artifact=artifact, exported=key, layout=layout),
            lambda _error: self._fail_step(),
            until=("chosen", "layout"),
        )

    def _step(self, place: int, how: Literal["running", "done"], words: str = "") -> None:
        """An export has reached a step; called in its thread."""

        def show() -> None:
            checks = list(self.state.checks)
            checks[place] = Check(words or checks[place].words, how)
            self.state.change(checks=tuple(checks))

        self.desk.post(show)

    def _fail_step(self) -> None:
        """The current step has failed; the previous export is unchanged."""
        failed = tuple(replace(c, state="failed") if c.state == "running" else c for c in self.state.checks)
        self.state.change(checks=failed)

    def serve(self, port: int) -> None:
        """Start a server of the artifact."""
        state = self.state
        artifact = state.artifact
        if self._refuses("serve", "The server is being started or stopped. Wait for it."):
            return
        if artifact is None or state.server is not None:
            said = "Export a candidate first." if artifact is None else "The server is already running."
            state.problem("serve", said, until=("artifact", "server"))
            return
        state.change(port_taken=0, port_free=0)

        def taken(error: BaseException) -> None:
            if isinstance(error, PortInUseError):
                state.change(port_taken=port, port_free=free_port(port + 1))

        def work() -> tuple[Any, dict[str, Any]]:
            server = dk.serve(artifact, port=port)
            self.ends.keep(server, server.stop)
            return server, calls(server)

        self._long("serve", work, lambda found: state.change(server=found[0], calls=found[1]), taken,
                   until=("artifact",))  # fmt: skip

    def stop_server(self) -> None:
        """Stop the server."""
        server = self.state.server
        if server is None or self._refuses("serve", "The server is being started or stopped. Wait for it."):
            return

        def work() -> None:
            server.stop()
            self.ends.drop(server)

        self._long("serve", work, lambda _none: self.state.change(server=None, calls=None))


def free_port(first: int) -> int:
    """The first free port from this one on, or 0 if none of the next hundred is free."""
    for port in range(first, min(first + 100, 65536)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    return 0
