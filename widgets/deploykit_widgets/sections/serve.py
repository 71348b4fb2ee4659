"""Serve: start and stop a server for the exported folder, try it on a sample, and watch its traffic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import deploykit as dk
from deploykit.core.contract import Contract
from deploykit.core.errors import SettingError
from deploykit.data.dataset import Dataset
from deploykit.reporting.evidence import samples
from deploykit.reporting.evidence.answered import answered
from deploykit.reporting.evidence.pictures import png
from deploykit_widgets.answers import Command, Later, Reply
from deploykit_widgets.sections._contract import Section

_TOP = 5
_PICTURE = 224


class ServeSection(Section):
    """The server for the exported model."""

    name = "serve"
    fields = ("artifact", "server", "calls", "port_taken", "report", "data")

    def value(self) -> Any:
        """See ``IServe`` in serve/serving.tsx."""
        state = self._state
        data = self._data
        return {
            "ready": state.artifact is not None,
            "name": state.artifact.manifest.name if state.artifact else "",
            "server": state.calls,
            "taken": state.port_taken,
            "free": state.port_free,
            "samples": len(data.splits["evaluation"]) if data is not None else 0,
        }

    def commands(self) -> Mapping[str, Command]:
        """Starting, stopping, asking, watching."""
        return {
            "serve": self._commands.serve,
            "stop_server": self._commands.stop_server,
            "sample": self._sample,
            "try_sample": self._try,
            "traffic": self._traffic,
            "monitor": self._monitor,
        }

    @property
    def _data(self) -> Dataset | None:
        """The data with inputs named like the model's, if there is a report."""
        return self._state.report.data if self._state.report is not None else self._state.data

    def _sample(self, index: int) -> Later:
        """An example, shown before it is sent."""
        data = self._data

        def work() -> Reply:
            _check(data, index)
            assert data is not None
            picture = png(data, index, longest=_PICTURE)
            cells = [] if picture is not None else samples.cells_of(data, index)
            value = {"index": index, "label": samples.label_of(data, index), "cells": cells}
            return Reply(value, [picture.data] if picture is not None else [])

        return Later("sample", work)

    def _try(self, index: int) -> Later:
        """Send an example to the server."""
        data, server = self._data, self._state.server

        def work() -> Any:
            if server is None:
                raise SettingError("The server is not running.", remedy="start it first.")
            _check(data, index)
            assert data is not None
            inputs = data.splits["evaluation"].take(slice(index, index + 1)).inputs
            return answer(data, index, server.predict(inputs), server.artifact.manifest.contract)

        return Later("try", work)

    def _traffic(self) -> Any:
        """What the server has done since it was started."""
        server = self._state.server
        if server is None:
            return None
        return {"alive": server.alive, "failure": server.failure, **server.traffic().to_json()}

    def _monitor(self) -> Later:
        """What the server's monitor says; see ``IMonitor`` in serve/monitor.tsx."""
        server = self._state.server

        def work() -> Any:
            if server is None or not server.alive:
                return None
            watched = dk.monitor(server)
            status = watched.status()
            history = [watched.history(model.name, model.version) for model in status.models]
            return {**status.to_json(), "history": history}

        return Later("monitor", work)


def _check(data: Dataset | None, index: int) -> None:
    count = len(data.splits["evaluation"]) if data is not None else 0
    if not 0 <= index < count:
        raise SettingError(f"There is no sample {index}.", remedy=f"choose one from 0 to {count - 1}.")


def answer(data: Dataset, index: int, found: Any, contract: Contract) -> dict[str, Any]:
    """The server's answer to an example, with its label; see ``IAnswered`` in serve/serving.tsx."""
    said = answered(found, contract, data.classes, _TOP)
    label = samples.label_of(data, index)
    return {
        "label": label,
        "prediction": said.prediction,
        "right": said.prediction == label if label and said.prediction else None,
        "top": [{"name": name, "value": value} for name, value in said.top],
        "numbers": list(said.numbers),
        "shares": said.shares,
    }


ADAPTER = ServeSection
