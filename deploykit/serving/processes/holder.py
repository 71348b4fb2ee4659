"""The models of a worker process: it holds what its parent wants, and changes from one set to the next as a whole.

What is wanted is plain data, made by `deploykit.serving.sources.catalog`: ``models`` (each with ``name``, ``version``,
``artifact``, ``digest``, ``key``, ``serving``), ``labels``, ``splits`` and ``states``. All of it is there before
anything is served; if a model cannot be loaded, what was served stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from deploykit.artifacts.artifact import Artifact
from deploykit.core import errors
from deploykit.core.security.keys import Key
from deploykit.core.settings.serving import ServingSettings
from deploykit.serving.dataplane import DataPlane
from deploykit.serving.served import ServedModel, State
from deploykit.serving.service import Service, Table
from deploykit.serving.splits import Split

_log = logging.getLogger("deploykit.serving")
#: Time after which memory of models that are gone goes back to the system: requests in progress still use them.
_TIDY_SECONDS = 1.0


class Holder:
    """Makes a service serve what is wanted. Belongs to the service's event loop.

    Args:
        service: The service.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        #: What is served, and how, by name and version.
        self._served: dict[tuple[str, str], tuple[Any, ...]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="deploykit-loading")
        self._tidying: asyncio.TimerHandle | None = None

    async def become(self, wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Serve what is wanted.

        Returns:
            What could not be loaded: ``name``, ``version`` and ``error``, see `deploykit.core.errors.to_json`. If there
            is any, nothing has changed.
        """
        loop = asyncio.get_running_loop()
        models: dict[tuple[str, str], ServedModel] = {}
        failed = []
        for one in wanted["models"]:
            key = one["name"], one["version"]
            if self._served.get(key) == _identity(one):
                models[key] = self._service.table.models[key]
                continue
            try:
                plane, *others = await loop.run_in_executor(self._thread, _opened, one)
            except errors.DeploykitError as error:
                failed.append({"name": key[0], "version": key[1], "error": errors.to_json(error)})
            else:
                models[key] = self._service.serve(plane, key[1], others)
        if failed:
            return failed
        gone = bool(self._service.table.models)
        self._service.table = Table(
            models,
            wanted["labels"],
            {name: Split.from_json(split) for name, split in wanted["splits"].items()},
            {
                name: {version: State(*state) for version, state in states.items()}
                for name, states in wanted["states"].items()
            },
        )
        self._served = {(one["name"], one["version"]): _identity(one) for one in wanted["models"]}
        if self._service.meter is not None:
            self._service.meter.serves(self._served)
        if gone:
            self._tidy_later()
        else:
            gc.collect()
            gc.freeze()  # what a server starts with stays: later collections need not look at it
        return []

    def _tidy_later(self) -> None:
        if self._tidying is not None:
            self._tidying.cancel()
        self._tidying = asyncio.get_running_loop().call_later(_TIDY_SECONDS, _tidy)


def _identity(one: Mapping[str, Any]) -> tuple[Any, ...]:
    return one["digest"], one["serving"]


def _opened(one: Mapping[str, Any]) -> list[DataPlane]:
    """Its data planes, warmed up: one for each of a model's functions, the one that its manifest describes first.

    Raises:
        DeploykitError: It cannot be served, whatever the reason.
    """
    try:
        artifact = Artifact.open(one["artifact"], Key.of_text(one["key"]) if one["key"] else None)
        # Between the proof and now (or since, when this is a restart) someone may have exported to the same folder.
        if artifact.digest != one["digest"] or artifact.problems():
            raise errors.ServeError(
                f"{artifact.path} has changed since it was checked.", remedy="start the server again to check it."
            )
        settings = ServingSettings.of(one["serving"]) if one["serving"] else None
        artifact = artifact.served_with(settings)
        parts = sorted(artifact.signatures, key=lambda part: part.manifest.calling != artifact.manifest.calling)
        return [DataPlane(part, one["name"]) for part in parts]
    except BaseException as error:
        _log.exception("cannot serve %s", one["artifact"])
        if isinstance(error, errors.DeploykitError):
            raise
        raise errors.ServeError(f"{type(error).__name__}: {error}") from error


def _tidy() -> None:
    """Give the memory of models that are gone back to the system, which the C library keeps otherwise."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # musl has no such function
            ctypes.CDLL(None).malloc_trim(0)
