"""Part of a model's requests for another version of it: a canary answers its share, a shadow gets copies."""

from __future__ import annotations

import random
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploykit.artifacts.golden import compare
from deploykit.core.errors import SettingError
from deploykit.core.serial import Plain
from deploykit.serving.faults import PoisonError
from deploykit.serving.meter import VISIT
from deploykit.serving.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploykit.serving.batches import Batch, Outputs
    from deploykit.serving.dataplane import DataPlane
    from deploykit.serving.meter import Meter
    from deploykit.serving.served import Done, ServedModel

#: Header, and key of gRPC's metadata, by which a request asks for the canary (``always``) or the others (``never``).
CANARY_HEADER = b"x-canary"
#: What the request in progress says in it.
ASKED: ContextVar[str] = ContextVar("deploykit_canary", default="")
#: Copies of requests that may wait for a shadow; more are dropped.
_WAITING_COPIES = 32
#: Difference, relative to an output's range, within which answers are the same but for rounding.
_SAME = 1e-3


@dataclass(frozen=True)
class Split(Plain):
    """How the requests that name no version are spread over a model's versions.

    Attributes:
        canary: Version, or label, that answers some of them; "" for none.
        share: Share of the requests that it answers, 0 to 1.
        shadow: Version, or label, that gets a copy of some of them; its answers are compared and thrown away.
        shadow_share: Share of the requests that are copied, 0 to 1.

    Raises:
        SettingError: A share is not a number from 0 to 1, or is given without its version.

    Example:
        >>> dk.Split(canary="2", share=0.1)
        Split(canary='2', share=0.1, shadow='', shadow_share=1.0)
    """

    canary: str = ""
    share: float = 0.0
    shadow: str = ""
    shadow_share: float = 1.0

    def __post_init__(self) -> None:
        for name in ("canary", "shadow"):
            if not isinstance(version := getattr(self, name), str):
                raise SettingError(f"The {name} must be the text of a version or label, got {version!r}.")
        for name in ("share", "shadow_share"):
            share = getattr(self, name)
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
                raise SettingError(f"The {name} must be a number from 0 to 1, got {share!r}.")
        if self.share and not self.canary:
            raise SettingError("A share needs the version that it goes to.", remedy="name the canary.")
        if self.shadow_share != 1.0 and not self.shadow:
            raise SettingError("A shadow_share needs the version that it goes to.", remedy="name the shadow.")
        if self.canary and self.canary == self.shadow:
            raise SettingError(f"Version {self.canary} cannot be both the canary and the shadow.")

    def for_canary(self) -> bool:
        """Whether the request in progress is one for the canary."""
        asked = ASKED.get()
        if asked == "always":
            return True
        return asked != "never" and random.random() < self.share

    def copied(self) -> bool:
        """Whether a request is one of those that are copied."""
        return self.shadow_share >= 1 or random.random() < self.shadow_share


class Shadowed:
    """Runs batches as a `Runner` does, and gives another version a copy.

    Args:
        model: What answers.
        shadow: What gets copies.
        meter: Counts how the answers compare; None: nothing is counted.
    """

    def __init__(self, model: ServedModel, shadow: ServedModel, meter: Meter | None) -> None:
        self._model = model
        self._shadow = shadow
        assert isinstance(model.runner, Runner)
        assert isinstance(shadow.runner, Runner)
        self._runner, self._shadow_runner = model.runner, shadow.runner
        self._meter = meter

    async def run(self, batch: Batch) -> Outputs:
        """Outputs by name; raises what `Runner.run` does."""
        return await self._runner.run(batch, self._copy)

    async def apart(self, batch: Batch, work: Callable[[DataPlane, Batch], Done]) -> Done:
        """As `Runner.apart`."""
        return await self._runner.apart(batch, work)

    def _copy(self, batch: Batch, outputs: Outputs) -> None:
        """Have the shadow answer as well, in its thread and after the request."""
        runner = self._shadow_runner
        visit = VISIT.get()
        request = "" if visit is None else visit.id
        if runner.waiting >= _WAITING_COPIES:
            self._count("dropped")
            return
        try:
            runner.later(lambda: self._compare(request, batch, outputs), batch)
        except PoisonError:
            self._found(request, None, "failed")

    def _compare(self, request: str, batch: Batch, outputs: Outputs) -> None:
        try:
            found = self._shadow.plane.infer(batch)
        except Exception:  # whatever it is, it is the shadow's
            self._found(request, None, "failed")
            return
        self._found(request, found, self._outcome(outputs, found))

    def _found(self, request: str, found: Outputs | None, outcome: str) -> None:
        self._count(outcome)
        if request and self._shadow_runner.tap is not None:
            self._shadow_runner.tap.answered(request, found, copied=True)

    def _outcome(self, outputs: Outputs, found: Outputs) -> str:
        """``"same"``, ``"agrees"`` where all decisions are the same, or ``"differs"``."""
        if not compare(outputs, found, _SAME)[1]:
            return "same"
        decided = False
        for name, array in outputs.items():
            meaning = self._model.plane.meanings.get(name)
            if meaning is None or meaning.kind not in ("scores", "probabilities"):
                continue
            axis = meaning.class_axis
            if name not in found or found[name].shape != array.shape:
                return "differs"
            if (array.argmax(axis) != found[name].argmax(axis)).any():
                return "differs"
            decided = True
        return "agrees" if decided else "differs"

    def _count(self, outcome: str) -> None:
        if self._meter is not None:
            self._meter.shadowed(self._model.name, self._shadow.version, self._model.version, outcome)
