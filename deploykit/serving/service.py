"""What a server holds, whatever the protocol: models by name and version, their runners, limits and counters.

Protocols sit above it: they translate a request to a batch of a model's data plane, have its runner run it, and
translate the outputs, or the `Fault`, back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from deploykit.core.settings.limits import ServerLimits
from deploykit.serving.dataplane import DataPlane
from deploykit.serving.faults import InvalidInputError, NotFoundError, UnavailableError
from deploykit.serving.runner import Runner
from deploykit.serving.served import ServedModel, State
from deploykit.serving.splits import Shadowed, Split

if TYPE_CHECKING:
    from deploykit.serving.health.suspects import Wary
    from deploykit.serving.health.vitals import Vitals
    from deploykit.serving.looking.tap import Taps
    from deploykit.serving.meter import Meter
    from deploykit.serving.protection.guard import Guard
    from deploykit.serving.protection.tls import Tls
    from deploykit.serving.records.recorder import Recorder
    from deploykit.serving.traffic import Counters


@dataclass(frozen=True)
class Table:
    """What is served at one time. It is replaced as a whole, so that a request never sees half of a change.

    Attributes:
        models: By name and version.
        labels: Version by label, by name.
        splits: By name.
        states: Of versions that are not served, by version, by name.
    """

    models: Mapping[tuple[str, str], ServedModel] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    splits: Mapping[str, Split] = field(default_factory=dict)
    states: Mapping[str, Mapping[str, State]] = field(default_factory=dict)


#: Has the server do something: what, and with which arguments → what there is to say.
Control = Callable[[str, Mapping[str, Any]], Awaitable[Any]]


class Service:
    """The models of one server process. Belongs to one event loop.

    Args:
        planes: What is served, each as version 1.
        limits: What it takes.
        counters: Where predictions are counted; None: nowhere.
        guard: Whose requests are answered; None: everyone's.
        meter: What counts for metrics; None: nothing.
        tls: Files of the server's TLS; None: it has none.
        recorder: What records requests; None: nothing.
        vitals: Where the parent sees what runs; None: nowhere.
        wary: Knows the batches that worker processes died of; None: they are not known.
        sockets: Paths of Unix sockets by the names of protocols, which answer there as well.
        taps: What looks at requests and answers for the monitor; None: nothing.

    Attributes:
        limits: What it takes.
        guard: Whose requests are answered; None: everyone's.
        meter: What counts for metrics; None: nothing.
        tls: Files of the server's TLS, for protocols with a port of their own; None: it has none.
        recorder: What records requests; None: nothing.
        vitals: Where the parent sees what runs; None: nowhere.
        sockets: Paths of Unix sockets by the names of protocols, which answer there as well.
        draining: Set when the server goes down: readiness is over, requests in progress are still answered.
        control: Has the server load and unload models and spread requests; None: it cannot be asked to.
        ask: Asks the server's monitor, and gives it labels; None: it has none.
        split: Whether any model's requests are spread over versions.
    """

    def __init__(
        self,
        planes: Iterable[DataPlane] = (),
        *,
        limits: ServerLimits | None = None,
        counters: Counters | None = None,
        guard: Guard | None = None,
        meter: Meter | None = None,
        tls: Tls | None = None,
        recorder: Recorder | None = None,
        vitals: Vitals | None = None,
        wary: Wary | None = None,
        sockets: Mapping[str, str] | None = None,
        taps: Taps | None = None,
    ) -> None:
        self.limits = limits or ServerLimits()
        self.guard = guard
        self.meter = meter
        self.tls = tls
        self.recorder = recorder
        self.sockets = dict(sockets or {})
        self.draining = False
        self.control: Control | None = None
        self.ask: Control | None = None
        self._taps = taps
        self.vitals = vitals
        self._wary = wary
        self._counters = counters
        self.table = Table()
        for plane in planes:
            self.add(plane)

    # -- what is served -----------------------------------------------------------------------------------------------

    @property
    def table(self) -> Table:
        """What is served now."""
        return self._table

    @table.setter
    def table(self, table: Table) -> None:
        versions: dict[str, tuple[str, ...]] = {}
        for name in dict.fromkeys(name for name, _ in table.models):
            versions[name] = tuple(sorted((v for n, v in table.models if n == name), key=int))
        #: By name and version; what answers requests that name no version also by None.
        found: dict[tuple[str, str | None], ServedModel] = {}
        found.update(table.models.items())
        chosen: dict[str, tuple[Split, ServedModel, ServedModel | None]] = {}
        for name, numbers in versions.items():
            split = table.splits.get(name, Split())
            canary = self._version_of(table, name, split.canary)
            shadow = self._version_of(table, name, split.shadow)
            stable = [number for number in numbers if number not in (canary, shadow)] or list(numbers)
            found[name, None] = table.models[name, stable[-1]]
            if not canary and not shadow:
                continue
            models = [found[name, None], table.models[name, canary] if canary else None]
            if shadow:
                copies = table.models[name, shadow]
                models = [one and self._shadowed(one, copies) for one in models]
            assert models[0] is not None
            chosen[name] = split, models[0], models[1]
        self._table, self._models, self._versions, self._chosen = table, found, versions, chosen
        if self._taps is not None:
            self._taps.keep({id(model.runner.tap) for model in _all(table) if isinstance(model.runner, Runner)})

    def _shadowed(self, model: ServedModel, shadow: ServedModel) -> ServedModel:
        return replace(model, runner=Shadowed(model, shadow, self.meter))

    @staticmethod
    def _version_of(table: Table, name: str, wanted: str) -> str:
        """The version that a version or label stands for, "" when it is not served."""
        if not wanted:
            return ""
        version = table.labels.get(name, {}).get(wanted, wanted)
        return version if (name, version) in table.models else ""

    def serve(self, plane: DataPlane, version: str, others: Iterable[DataPlane] = ()) -> ServedModel:
        """A version that can be put into a table, with the other functions that it has."""
        tap = None if self._taps is None else self._taps.tap(plane, version)
        runner = Runner(plane, self.limits.waiting, version, self.meter, self.vitals, self._wary, tap)
        return ServedModel(plane, version, runner, {other.signature: self.serve(other, version) for other in others})

    def add(self, plane: DataPlane, version: str = "1") -> None:
        """Serve one more model, or one more version of a model."""
        more = {(plane.name, version): self.serve(plane, version)}
        table = self.table
        self.table = Table({**table.models, **more}, table.labels, table.splits, table.states)

    def label(self, name: str, label: str, version: str) -> None:
        """Let a label stand for a version of a model, such as ``stable`` or ``canary``.

        Raises:
            NotFoundError: There is no such version.
        """
        self.model(name, version)
        table = self.table
        labels = {**table.labels, name: {**table.labels.get(name, {}), label: version}}
        self.table = Table(table.models, labels, table.splits, table.states)

    @property
    def split(self) -> bool:
        """Whether any model's requests are spread over versions."""
        return bool(self._chosen)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all models."""
        return tuple(self._versions)

    @property
    def known(self) -> tuple[str, ...]:
        """Names of all models, those that are not served any more or not yet among them."""
        return tuple(dict.fromkeys((*self._versions, *self._table.states)))

    def versions(self, name: str) -> tuple[str, ...]:
        """Versions of a model, the highest last."""
        return self._versions.get(name, ())

    @property
    def models(self) -> list[ServedModel]:
        """All versions of all models."""
        return [self._models[name, version] for name, versions in self._versions.items() for version in versions]

    def model(self, name: str, version: str | None = None, label: str | None = None) -> ServedModel:
        """A model, in its highest version unless another one is asked for, by its number or its label.

        A version that only gets a share of the requests, or copies of them, does not count as the highest.

        Raises:
            NotFoundError: There is none, in TensorFlow Serving's words.
            InvalidInputError: There is no such label.
        """
        try:
            return self._models[name, version if label is None else self._table.labels[name][label]]
        except KeyError:
            known = self._table.labels.get(name, {})
            if label is not None and label in known:
                raise NotFoundError(
                    f"Servable not found for request: Specific({name}, {known[label]}). The label {label!r} is for "
                    f"this version of {name!r}, and there are {', '.join(self.versions(name)) or 'none'}."
                ) from None
            if label is not None:
                raise InvalidInputError(
                    f"The labels of {name!r} are: {', '.join(known) or 'none'}.",
                    f"Unrecognized servable version label: {label}",
                ) from None
            request = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            served = "; ".join(
                f"{n!r}, version{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"
                for n, numbers in self._versions.items()
            )
            raise NotFoundError(
                f"Servable not found for request: {request}. This server has {served or 'no models'}."
            ) from None

    def chosen(self, name: str, version: str | None = None, label: str | None = None) -> ServedModel:
        """What answers a prediction: as `model`, but the requests for no version are spread as they shall be.

        Raises:
            NotFoundError: There is none.
        """
        if version is None and label is None:
            if self._chosen and (found := self._chosen.get(name)) is not None:
                split, stable, canary = found
                return canary if canary is not None and split.for_canary() else stable
            if (model := self._models.get((name, None))) is not None:
                return model
        return self.model(name, version, label)

    def gets(self, model: ServedModel) -> str:
        """Which requests a served version gets, in words."""
        name, version = model.name, model.version
        split = self._table.splits.get(name, Split())
        if version == self._version_of(self._table, name, split.shadow):
            return f"copies of {split.shadow_share:.0%} (shadow)"
        if version == self._version_of(self._table, name, split.canary):
            return f"{split.share:.0%} (canary)"
        if version != self.model(name).version:
            return "those that name it"
        canary = name in self._chosen and self._chosen[name][2] is not None
        return f"{1 - split.share:.0%}" if canary else "all that name no version"

    def states(self, name: str) -> Mapping[str, State]:
        """States of all versions of a model that are known, the highest first, by version.

        Raises:
            NotFoundError: There is no such model.
        """
        known = self._table.states.get(name, {})
        if not known and name not in self._versions:
            self.model(name)
        found = {**known, **{version: State("AVAILABLE") for version in self.versions(name)}}
        return MappingProxyType(dict(sorted(found.items(), key=lambda item: -int(item[0]))))

    def check_ready(self) -> None:
        """Raise `UnavailableError` unless new requests are welcome."""
        if self.draining:
            raise UnavailableError("The server is shutting down.")

    @property
    def stands_still(self) -> bool:
        """Whether a model has held up the event loop for long, as other threads can ask."""
        return self.vitals is not None and self.vitals.stands_still

    def settle(self, name: str, version: str, block: int) -> None:
        """Have the monitor's taps of a version look at blocks of so many requests."""
        if self._taps is not None:
            self._taps.settle(name, version, block)

    def close(self) -> None:
        """Tell the monitor what is left to tell."""
        if self._taps is not None:
            self._taps.close()

    # -- what is counted ----------------------------------------------------------------------------------------------

    def answered(self, seconds: float) -> None:
        """Count a prediction that was answered."""
        if self._counters is not None:
            self._counters.answered(seconds)

    def refused(self) -> None:
        """Count a prediction that was not answered."""
        if self._counters is not None:
            self._counters.refused()


def _all(table: Table) -> Iterator[ServedModel]:
    """All models of a table, their other functions included."""
    for model in table.models.values():
        yield model
        yield from model.others.values()
