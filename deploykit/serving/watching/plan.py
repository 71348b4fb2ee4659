"""What a server is asked to watch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from deploykit.core.errors import SettingError
from deploykit.core.settings.monitoring import MonitorSettings
from deploykit.monitoring.operation.book import Book
from deploykit.monitoring.operation.desk import checked_webhook
from deploykit.monitoring.operation.performance import Exported
from deploykit.serving.profiles import profile_of
from deploykit.serving.watching.keeper import Keeper
from deploykit.serving.watching.mind import Mind
from deploykit.serving.watching.post import Watched

if TYPE_CHECKING:
    from deploykit.artifacts.artifact import Artifact
    from deploykit.serving.sources.catalog import Catalog


@dataclass(frozen=True)
class Monitoring:
    """What is watched.

    Attributes:
        settings: What is an alarm; None: nothing is watched.
        folder: Where records are kept; None: in memory.
        webhook: Address that gets alarms; "" for none.
    """

    settings: MonitorSettings | None
    folder: Path | None = None
    webhook: str = ""

    @classmethod
    def of(cls, wanted: bool | Mapping[str, Any], folder: str | Path | None, webhook: str) -> Self:
        """The settings, checked.

        Raises:
            SettingError: A setting is none, or something is asked of a monitor that there is not.
            StoreError: The folder cannot be used.
        """
        if wanted is False:
            if folder is not None or webhook:
                raise SettingError(
                    "A monitor_folder or webhook is given, and monitor is False.", remedy="leave monitor out."
                )
            return cls(None)
        if wanted is not True and not isinstance(wanted, Mapping):
            raise SettingError(f"The argument monitor must be true, false or settings by name, got {wanted!r}.")
        settings = MonitorSettings.of(None if wanted is True else wanted)
        if settings.examples and folder is None:
            raise SettingError(
                "The monitor is to keep examples, and has no folder for them.", remedy="give it one: monitor_folder=."
            )
        path = None if folder is None else Path(folder).expanduser().absolute()
        if path is not None:
            Book(path).close()
        return cls(settings, path, checked_webhook(webhook))

    @property
    def order(self) -> dict[str, Any] | None:
        """What workers are asked to look at, see `deploykit.serving.looking.tap.Taps`; None: nothing."""
        settings = self.settings
        return None if settings is None else {"cost": settings.cost, "examples": settings.examples}

    def keeper(
        self, catalog: Catalog, counters: Path, pids: Callable[[], Iterable[int]],
        tell: Callable[[Mapping[str, Any]], object],
    ) -> Keeper | None:  # fmt: skip
        """The monitor; None where nothing is watched."""
        if self.settings is None:
            return None
        return Keeper(partial(_served, catalog), counters, pids, self.settings, self.folder, self.webhook, tell)


def _served(catalog: Catalog) -> Iterator[Watched]:
    for one in catalog.facts():
        for version in one["versions"]:
            if version["state"] != "AVAILABLE":
                continue
            try:
                artifact = catalog.artifact(one["name"], version["version"])
            except SettingError:  # it has gone meanwhile
                continue
            yield Watched(
                one["name"], version["version"], artifact.digest, _exported(artifact), partial(_mind, artifact)
            )


def _exported(artifact: Artifact) -> Exported:
    manifest = artifact.manifest
    measured = None if manifest.result is None else manifest.result.measurement
    latency = None if measured is None else measured.latency
    if latency is None:
        return Exported()
    return Exported(latency.p50_ms, latency.p99_ms, manifest.target.batch_size)


def _mind(artifact: Artifact, settings: MonitorSettings) -> Mind:
    manifest = artifact.manifest
    return Mind(profile_of(artifact), manifest.classes or manifest.contract.labels.named, settings)
