"""Where to run: runtimes with their devices, as the Space panel's controls have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import deploykit as dk
from deploykit.core.candidate import Target
from deploykit.core.errors import unknown_name
from deploykit.core.registry import registry
from deploykit.core.space import Space
from deploykit_widgets.space.choice import Values
from deploykit_widgets.space.obstacles import Obstacles

#: A runtime and one of its devices.
Place = tuple[str, str]
_CPU = "cpu"


@dataclass(frozen=True)
class Device:
    """A device: its name as in ``Target.device``, whether it is available, and what it is or why not."""

    name: str
    available: bool = True
    detail: str = ""


class Where:
    """The chosen runtimes and devices."""

    def __init__(self) -> None:
        self._runtimes = {r.name: r for r in registry("deploykit.runtimes", "runtime").all()}
        self.chosen: tuple[Place, ...] = ()
        #: Whether the user chose them, so that they are not changed.
        self.by_hand = False

    @property
    def runtimes(self) -> frozenset[str]:
        """The chosen runtimes."""
        return frozenset(runtime for runtime, _ in self.chosen)

    def follow(self, base: Space) -> None:
        """Use the runtimes and devices of a space."""
        self.chosen = self._of(base)
        self.by_hand = False

    def reach(self, obstacles: Obstacles) -> bool:
        """Choose every installed runtime that can run the model, unless the user has chosen.

        Returns:
            Whether that changes anything.
        """
        # Compilers take minutes that only their choice is worth.
        able = {
            n: r for n, r in self._runtimes.items() if r.cpu and not r.compiles_after(frozenset()) and not r.missing()
        }
        found = [(n, _CPU) for n in able if not obstacles.runtime(n)]
        if self.by_hand or not found or self._sorted(found) == self.chosen:
            return False
        self.chosen = self._sorted(found)
        return True

    def choose(self, places: Sequence[Place]) -> None:
        """Choose other runtimes or devices.

        Raises:
            SettingError: There is no such runtime.
        """
        for runtime, _ in places:
            if runtime not in self._runtimes:
                raise unknown_name("runtime", runtime, self._runtimes)
        self.chosen = self._sorted(places)
        self.by_hand = True

    def is_of(self, base: Space, threads: Values, batches: Values) -> bool:
        """Whether the targets of a space are exactly these."""
        return (self.chosen, set(threads), set(batches)) == (self._of(base), *map(set, self.sizes(base)))

    def sizes(self, base: Space) -> tuple[Values, Values]:
        """Threads and batch sizes of a space."""
        targets = self._targets(base)
        return tuple(sorted({t.threads for t in targets})), tuple(sorted({t.batch_size for t in targets}))

    def devices(self, known: Mapping[str, Sequence[Device]], obstacles: Obstacles | None) -> list[dict[str, Any]]:
        """Everything that can be chosen, and what cannot be, with the reason; see ``IDevice`` in space/where.tsx.

        Args:
            known: Runtime → its devices; runtimes that were not asked are assumed to have a CPU.
            obstacles: What is impossible for the model.
        """
        found = []
        for name, runtime in self._runtimes.items():
            devices = known.get(name) or ((Device(_CPU),) if runtime.cpu else ())
            extra = [d for r, d in self.chosen if r == name and d not in {x.name for x in devices}]
            impossible = obstacles.runtime(name) if obstacles else ""
            for device in (*devices, *(Device(d) for d in extra)):
                reason = runtime.missing() or ("" if device.available else device.detail)
                place = name, device.name
                found.append({
                    "runtime": name,
                    "device": device.name,
                    "label": runtime.label if device.name == _CPU else f"{runtime.label} {device.name.upper()}",
                    "help": " ".join(filter(None, (runtime.help, runtime.note))),
                    "on": place in self.chosen,
                    "missing": reason,
                    "impossible": impossible,
                })  # fmt: skip
        return sorted(found, key=lambda device: bool(device["missing"]))  # what is not here comes last

    def _targets(self, base: Space) -> list[Target]:
        here = [t for t in base.targets if t.runtime in self._runtimes and not self._runtimes[t.runtime].missing()]
        return here or [Target(n) for n, r in self._runtimes.items() if r.default and not r.missing()]

    def _of(self, base: Space) -> tuple[Place, ...]:
        return self._sorted([(t.runtime, t.device) for t in self._targets(base)])

    def _sorted(self, places: Sequence[Place]) -> tuple[Place, ...]:
        names = list(self._runtimes)
        return tuple(sorted(set(places), key=lambda p: (names.index(p[0]), p[1] != _CPU, p[1])))


def ask_for_devices() -> dict[str, tuple[Device, ...]]:
    """Devices of all runtimes, asked in child processes; a runtime that does not answer is assumed to have a CPU."""
    return {
        state.name: tuple(Device(d.name, d.available, d.detail) for d in state.devices)
        or (Device(_CPU, available=False, detail=state.problem),)
        for state in dk.doctor().runtimes
    }
