"""What a server serves: which versions of which models are there, proved, and wanted, and how requests are spread.

It lives in the server's parent process and never runs a model: children prove a version, then all workers load it, and
only then is it served. What was served before stays until then, and if there is nothing better: a version that cannot
be loaded takes no other's place, and a folder that is empty for a moment unloads nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from deploykit.artifacts.artifact import Artifact
from deploykit.artifacts.prove import prove
from deploykit.core import errors
from deploykit.core.errors import DeploykitError, ServeError, unknown_name
from deploykit.core.serial import to_plain
from deploykit.serving.sources.held import Held, Seen, Terms, absent, seen_of, versions_in
from deploykit.serving.sources.shown import facts
from deploykit.serving.sources.spreading import check_split, split_in, versions_by_pointer
from deploykit.serving.sources.wishes import Wish, read_models_config
from deploykit.serving.splits import Split

_log = logging.getLogger("deploykit.serving")
#: Versions that are served no more and still have a state, for each model.
_PAST = 8


#: Has all workers serve a state, see `deploykit.serving.processes.holder`, and says what could not be loaded.
Become = Callable[[dict[str, Any]], list[dict[str, Any]]]
#: Learns what becomes of versions: ``"serve"``, ``"end"`` or ``"fail"``, with its facts.
Tell = Callable[[str, dict[str, Any]], None]


class Catalog:
    """What a server serves. Any thread may call it; changes are made one after the other.

    Args:
        wishes: What is wanted.
        config: A ``models.config`` that they come from and that is read again when it changes; None: they stay.
        terms: How all versions are opened.
    """

    def __init__(self, wishes: Iterable[Wish], config: Path | None = None, terms: Terms | None = None) -> None:
        self._terms = terms or Terms()
        self._wishes = {wish.name: wish for wish in wishes}
        self._config = config
        self._config_seen = seen_of(config) if config else frozenset()
        #: Held while versions are looked for and proved, which takes long.
        self._lock = threading.RLock()
        #: Held while what is served changes.
        self._putting = threading.RLock()
        self._become: Become = lambda _: []
        self._tell: Tell = lambda _, __: None
        self._held: dict[str, dict[int, Held]] = {}
        self._failed: dict[tuple[str, int], tuple[Seen, DeploykitError]] = {}
        self._states: dict[str, dict[int, tuple[str, str, str]]] = {}
        self._unloaded: set[str] = set()
        self._splits: dict[str, Split] = {}
        #: Labels as clients find them.
        self._labels: dict[str, dict[str, int]] = {}

    # -- the start ----------------------------------------------------------------------------------------------------

    def open(self) -> tuple[Artifact, ...]:
        """Find what is wanted; it is not proved yet.

        Raises:
            DeploykitError: A model has no version, or one of them cannot be opened.
        """
        for wish in self._wishes.values():
            there = versions_in(wish)
            if (problem := absent(wish, there)) is not None:
                raise problem
            self._held[wish.name] = {v: self._opened(there[v], wish.name) for v in wish.of(there)}
            if (split := split_in(wish)) is not None:
                self._splits[wish.name] = split
        return self.artifacts

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """All that is served, or found to be served."""
        return tuple(held.artifact for versions in self._held.values() for held in versions.values())

    def prove(self) -> dict[str, Any]:
        """Prove what was found: the state that workers begin with.

        Raises:
            ServeError: A version does not answer as it should.
        """
        for versions in self._held.values():
            for held in versions.values():
                self._prove(held)
        return self._state()

    def serve(self, become: Become, tell: Tell) -> None:
        """Say what has workers change, now that they serve, and what learns of it."""
        self._become, self._tell = become, tell
        for name, versions in self._held.items():
            self._tell_of(name, {}, versions)

    # -- changes ------------------------------------------------------------------------------------------------------

    def poll(self) -> None:
        """Look for new versions, and for another ``models.config``; what cannot be loaded is in the log."""
        with self._lock:
            asked = False
            if self._config is not None and (seen := seen_of(self._config)) != self._config_seen:
                self._config_seen = seen
                try:
                    self._wish(read_models_config(self._config))
                    asked = True
                except DeploykitError as error:
                    _log.error("the models stay as they were: %s", error)
                    self._tell("fail", {"config": str(self._config), "problem": str(error)})
            for name in tuple(self._wishes):
                self._refresh(name, asked=asked)
            if asked:
                self._relabel()

    def load(self, name: str) -> None:
        """Look for versions of a model, unloaded before or not; one that has changed since is loaded again.

        Raises:
            DeploykitError: There is no such model, or the version that is wanted cannot be loaded.
        """
        with self._lock:
            self._check_known(name)
            self._unloaded.discard(name)
            if (error := self._refresh(name, asked=True, again=True)) is not None:
                raise error

    def unload(self, name: str) -> None:
        """Serve a model no more, until it is loaded again.

        Raises:
            SettingError: There is no such model.
        """
        with self._lock:
            self._check_known(name)
            self._unloaded.add(name)
            self._put(name, {})

    def rollback(self, name: str) -> None:
        """Let the version answer that did so before, or end a trial; at once if it is still loaded.

        Raises:
            DeploykitError: There is no such model or nothing to go back to, or it cannot be loaded again.
        """
        self._check_known(name)
        pointed = versions_by_pointer(self._wishes[name])
        with self._putting:  # and not the lock of those who prove a version, which takes long
            pointed.rollback()
            loaded = pointed.pointer().loaded
            held = {version: one for version, one in self._held.get(name, {}).items() if version in loaded}
            error = self._put(name, held) if len(held) == len(loaded) else None
        if len(held) < len(loaded):
            with self._lock:
                error = self._refresh(name, asked=True)
        if error is not None:
            raise error

    def reload(self, wishes: Iterable[Wish]) -> None:
        """Serve other models from now on.

        Raises:
            DeploykitError: One of them cannot be loaded; the others are served.
        """
        with self._lock:
            self._wish(wishes)
            self._config = None
            problems = [self._refresh(name, asked=True) for name in tuple(self._wishes)]
            self._relabel()
        if found := [problem for problem in problems if problem is not None]:
            raise found[0]

    def split(self, name: str, split: Split) -> None:
        """Spread a model's requests over its versions from now on.

        Raises:
            SettingError: There is no such model, or such a version is not served.
        """
        with self._putting:
            self._check_known(name)
            check_split(split, self._wishes[name], self._held.get(name, {}))
            before = self._splits.get(name)
            self._splits[name] = split
            if failed := self._become(self._state()):
                self._splits[name] = before or Split()
                raise errors.from_json(failed[0]["error"])

    # -- what there is ------------------------------------------------------------------------------------------------

    @property
    def first_name(self) -> str:
        """Name of the first model; "" when there is none."""
        return next(iter(self._wishes), "")

    @property
    def first(self) -> Artifact:
        """The artifact of the first model's highest version.

        Raises:
            ServeError: Nothing is served.
        """
        for versions in list(self._held.values()):
            if versions:
                return versions[max(versions)].artifact
        raise ServeError("The server has no models.", remedy="load one.")

    def artifact(self, name: str, version: str = "") -> Artifact:
        """What is served under a name, in its highest version unless another one is asked for.

        Raises:
            SettingError: It is not served.
        """
        versions = {str(v): held.artifact for v, held in self._held.get(name, {}).items()}
        if not versions:
            raise unknown_name("model", name, [n for n, held in list(self._held.items()) if held])
        if version and version not in versions:
            raise unknown_name(f"version of {name!r}", version, list(versions))
        return versions[version or list(versions)[-1]]

    def facts(self) -> list[dict[str, Any]]:
        """Names, versions, their states, labels, and how requests are spread."""
        with self._putting:
            return facts(self._state(), self._wishes)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _wish(self, wishes: Iterable[Wish]) -> None:
        """Take other wishes; models that are wanted no more are unloaded."""
        self._wishes = {wish.name: wish for wish in wishes}
        self._unloaded.clear()
        for name in tuple(self._held):
            if name not in self._wishes:
                self._put(name, {})
                del self._held[name]
                self._splits.pop(name, None)

    def _refresh(self, name: str, *, asked: bool = False, again: bool = False) -> DeploykitError | None:
        """Serve what is wanted of a model.

        Args:
            name: The model.
            asked: Someone has just asked for it: that a version is not there is a problem, and in the log.
            again: Try again what failed, and load again what has changed.

        Returns:
            Why something that is wanted is not served.
        """
        if name in self._unloaded:
            return None
        wish, served = self._wishes[name], self._held.get(name, {})
        there = versions_in(wish)
        wanted = wish.of(there)
        found: dict[int, Held] = {}
        problem: DeploykitError | None = None
        for version in wanted:
            held = served.get(version)
            if held is None or held.folder != there[version] or (again and seen_of(there[version]) != held.seen):
                new, error = self._new(name, version, there[version], again=again)
                held, problem = new or held, error or problem
            if held is not None:
                found[version] = held
        if len(found) < len(wanted) or not wanted:  # what is there is better than nothing
            kept = served if wish.policy != "specific" or not found else {}
            most = max(wish.count if wish.policy == "latest" else len(kept), len(found))
            for version in sorted(kept.keys() - found, reverse=True)[: most - len(found)]:
                found[version] = kept[version]
        if asked and problem is None and (problem := absent(wish, there)) is not None:
            _log.error("%s", problem)
        with self._putting:
            changed = wish.pointed and versions_in(wish) != there  # while a version was proved
            if not changed and (found != served or split_in(wish) not in (None, self._splits.get(name))):
                problem = self._put(name, found) or problem
        return self._refresh(name, asked=asked) if changed else problem

    def _new(self, name: str, version: int, folder: Path, *, again: bool) -> tuple[Held | None, DeploykitError | None]:
        """A version that is not served yet, proved; or why not."""
        before, error = self._failed.get((name, version), (None, None))
        seen = seen_of(folder)
        if before == seen and not again:
            return None, error
        self._say(name, version, "LOADING")
        try:
            held = self._opened(folder, name)
            self._prove(held)
        except DeploykitError as failure:
            self._fail(name, version, seen, failure)
            return None, failure
        self._failed.pop((name, version), None)
        return held, None

    def _fail(self, name: str, version: int, seen: Seen, error: DeploykitError) -> None:
        _log.error("%s, version %d, is not served: %s", name, version, error)
        self._failed[name, version] = seen, error
        self._tell("fail", {"name": name, "version": str(version), "problem": str(error)})
        self._say(name, version, "END", "UNKNOWN", error.message)

    def _say(self, name: str, version: int, state: str, code: str = "OK", message: str = "") -> None:
        """Have workers say it of a version that is not served."""
        with self._putting:
            states = self._states.setdefault(name, {})
            states[version] = state, code, message
            for old in sorted(states)[:-_PAST]:
                del states[old]
            self._become(self._state())

    def _put(self, name: str, versions: dict[int, Held]) -> DeploykitError | None:
        """Serve these versions of a model and no others; why not, if workers cannot load one."""
        with self._putting:
            before, spread = self._held.get(name, {}), self._splits.get(name, Split())
            self._held[name] = dict(sorted(versions.items()))
            self._splits[name] = split_in(self._wishes.get(name)) or spread
            states = self._states.setdefault(name, {})
            for version in before:
                if version not in versions:
                    states[version] = "END", "OK", ""
            for version in versions:
                states.pop(version, None)
            failed = self._become(self._state())
            if not failed:
                self._tell_of(name, before, self._held[name])
                return None
            self._held[name], self._splits[name] = before, spread
        error = errors.from_json(failed[0]["error"])
        for version, held in versions.items():
            if before.get(version) is not held:
                self._fail(name, version, held.seen, error)
        return error

    def _tell_of(self, name: str, before: Mapping[int, Held], now: Mapping[int, Held]) -> None:
        for version in sorted({*before, *now}):
            old, new = before.get(version), now.get(version)
            facts = {"name": name, "version": str(version)}
            if new is None:
                self._tell("end", facts)
            elif new is not old:
                self._tell("serve", {**facts, "digest": new.artifact.digest})

    def _opened(self, folder: Path, name: str) -> Held:
        return Held.open(folder, self._wishes[name], self._terms)

    def _prove(self, held: Held) -> None:
        artifact = held.artifact
        if held.proved:
            return
        if problems := prove(artifact, trusted=self._terms.trusted).problems:
            raise ServeError(f"{artifact.path} is not served: {' '.join(problems)}", remedy="export it again.")

    def _check_known(self, name: str) -> None:
        if name not in self._wishes:
            raise unknown_name("model", name, list(self._wishes))

    def _relabel(self) -> None:
        """Have workers know the labels, which alone may have changed."""
        with self._putting:
            self._become(self._state())

    def _state(self) -> dict[str, Any]:
        """What workers shall serve. A label stays where it was until the version that it moves to is served."""
        for name, wish in self._wishes.items():
            held, before = self._held.get(name, {}), self._labels.get(name, {})
            self._labels[name] = {
                label: before[label] if version not in held and before.get(label) in held else version
                for label, version in wish.labels.items()
            }
        return {
            "models": [
                {
                    "name": n,
                    "version": str(v),
                    "artifact": str(h.artifact.path),
                    "digest": h.artifact.digest,
                    "key": "" if h.artifact.key is None else h.artifact.key.text,
                    "serving": to_plain(h.artifact.manifest.serving),
                }
                for n, versions in self._held.items()
                for v, h in versions.items()
            ],
            "labels": {n: {label: str(v) for label, v in self._labels[n].items()} for n in self._wishes},
            "splits": {n: split.to_json() for n, split in self._splits.items()},
            "states": {
                n: {str(v): state for v, state in states.items() if v not in self._held.get(n, {})}
                for n, states in self._states.items()
            },
        }
