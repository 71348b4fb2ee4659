"""The steps of an update. Each can be taken again after a crash: what it makes is named by digests.

::

    watching ─alarm→ alarmed → optimizing ⇄ candidate (gate) → shadow → canary → promoted ─bake over→ watching
                                    └──────────────┴────────────┴───────┴─→ rolled_back → watching

What clients get changes in one place, the pointer of the versions, which is replaced as a whole. The row is written
after what it says has been done: a process that dies in between does the step again, and finds it done.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deploykit.artifacts.artifact import Artifact, is_artifact
from deploykit.artifacts.prove import prove
from deploykit.artifacts.versions import Versions
from deploykit.core.digest import json_digest
from deploykit.core.errors import Cancelled, DeploykitError
from deploykit.data.dataset import Dataset
from deploykit.monitoring.operation.alarms import clock
from deploykit.serving.server import Server
from deploykit.transforms._contract import TRANSFORMS
from deploykit.updating import notebook as notebooks
from deploykit.updating.counting import added, counted, since
from deploykit.updating.evidence import TrialEvidence
from deploykit.updating.gate import compare
from deploykit.updating.row import UpdateRow, UpdateState

#: Ways to make a candidate, in the order in which they are tried, and steps that a person may have to allow.
ATTEMPTS = ("recalibrate", "recipe", "sweep")
TRIALS = ("shadow", "canary")
APPROVABLE = ("optimize", *TRIALS, "promote")
#: Folder of what a run makes before it is a version.
_WORK = "update"


@dataclass(frozen=True)
class Terms:
    """How an update is done; see `update` for the meaning of each."""

    model: str
    data: Dataset
    window: Path | None
    notebook: Path | None
    servers: tuple[Server | str, ...]
    token: str
    name: str
    max_drop: float
    max_latency_ms: float | None
    max_differing: float
    max_failing: float
    alpha: float
    attempts: tuple[str, ...]
    trials: tuple[str, ...]
    canary_share: float
    space: str
    bake_seconds: float
    approve: Collection[str] | Callable[[str, UpdateState], bool]
    sign: Path | None
    labels: bool
    seed: int


class Loop:
    """Takes steps until something has to happen first.

    Args:
        versions: What is served.
        terms: How.
        alarm: What the alarm says, {} for none.
    """

    def __init__(self, versions: Versions, terms: Terms, alarm: Mapping[str, Any]) -> None:
        self._versions = versions
        self._terms = terms
        self._alarm = dict(alarm)
        self._row = UpdateRow(versions.folder)

    def run(self, allow: Collection[str]) -> UpdateState:
        """Go as far as it goes."""
        state = self._row.read()
        if allow:
            state = self._row.write(replace(state, allowed=tuple(sorted({*state.allowed, *allow}))))
        while True:
            take: Callable[[UpdateState], UpdateState] = getattr(self, f"_{state.step}")
            after = take(state)
            if after != state:
                self._row.write(after)
            if after == state or after.waits:
                return after
            state = after

    # -- what begins a run --------------------------------------------------------------------------------------------

    def _watching(self, state: UpdateState) -> UpdateState:
        if not self._alarm:
            return replace(state, handled="") if state.handled else state
        # What it says changes as long as it lasts; since when it does not.
        if (identity := json_digest(self._alarm.get("since", self._alarm))) == state.handled:
            return state
        began = UpdateState(run=state.run + 1, handled=identity, history=state.history)
        incumbent = self._versions.artifact().digest
        return began.now("alarmed", f"alarm: {_words(self._alarm)}", alarm=self._alarm, incumbent=incumbent)

    def _alarmed(self, state: UpdateState) -> UpdateState:
        if waits := self._waits(state, "optimize"):
            return replace(state, waits=waits)
        return self._next(state)

    def _waits(self, state: UpdateState, step: str) -> str:
        """What a step waits for: a person, or nothing."""
        approve = self._terms.approve
        if step in state.allowed:
            return ""
        if callable(approve):
            return "" if approve(step, state) else f"{step} was not approved"
        return f'a person who allows "{step}"' if step in approve else ""

    # -- a candidate --------------------------------------------------------------------------------------------------

    def _next(self, state: UpdateState) -> UpdateState:
        """The next attempt, or the end of the run."""
        left = [attempt for attempt in self._terms.attempts if attempt not in state.tried]
        if not left:
            return state.now("rolled_back", "no attempt made a candidate that passes its gate")
        return state.now("optimizing", f"trying: {left[0]}", attempt=left[0], candidate="", number=0, gate=None)

    def _failed(self, state: UpdateState, why: str) -> UpdateState:
        return self._next(replace(state, tried={**state.tried, state.attempt: why}))

    def _optimizing(self, state: UpdateState) -> UpdateState:
        incumbent = self._versions.artifact()
        if why := self._pointless(state.attempt, incumbent):
            return self._failed(state, f"left out: {why}")
        out = self._work(state) / "artifact"
        if not is_artifact(out):  # or one that died before this line was reached has made it
            values = {
                "model_path": self._terms.model, "incumbent_path": str(incumbent.path), "data_path": str(self._data()),
                "window_path": str(self._terms.window or ""), "attempt": state.attempt, "out_path": str(out),
                "store_path": str(self._versions.folder / _WORK / "store"), "space": self._terms.space,
                "max_drop": self._terms.max_drop, "seed": self._terms.seed,
            }  # fmt: skip
            try:
                notebooks.run(self._terms.notebook, self._work(state) / "update.ipynb", values)
            except (Cancelled, KeyboardInterrupt):
                raise
            except DeploykitError as error:
                return self._failed(state, error.message)
            if not is_artifact(out):
                return self._failed(state, "the notebook left no artifact at out_path")
        artifact = Artifact.open(out)
        if artifact.manifest.files.get(artifact.manifest.model) == incumbent.manifest.files.get(
            incumbent.manifest.model, ""
        ):
            return self._failed(state, "it made the incumbent's file again")
        number = self._versions.add(artifact, note=f"update {state.run}: {state.attempt}")
        return state.now(
            "candidate", f"{state.attempt} made version {number}", candidate=artifact.digest, number=number
        )  # fmt: skip

    def _pointless(self, attempt: str, incumbent: Artifact) -> str:
        """Why an attempt would be none, in words; "" when it is one."""
        techniques = [step.technique for step in incumbent.manifest.recipe.steps]
        needs = {need for name in techniques for variant in TRANSFORMS.get(name).variants for need in variant.needs}
        if attempt == "recalibrate":
            if self._terms.window is None:
                return "there are no recent inputs"
            if "calibration" not in needs:
                return "the incumbent's recipe calibrates nothing"
            if "train" in needs:
                return "the incumbent's recipe trains, which is never done on recent inputs without a person"
        return "the incumbent has no recipe" if attempt == "recipe" and not techniques else ""

    def _work(self, state: UpdateState) -> Path:
        folder = self._versions.folder / _WORK / f"{state.run}-{state.attempt}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _data(self) -> Path:
        """The data for the notebook, complete or not there."""
        folder = self._versions.folder / _WORK / f"data-{self._terms.data.digest[:16]}"
        if not folder.exists():
            scratch = folder.with_name(f"{folder.name}.tmp")
            shutil.rmtree(scratch, ignore_errors=True)
            self._terms.data.save(scratch)
            scratch.rename(folder)
        return folder

    def _candidate(self, state: UpdateState) -> UpdateState:
        """The gate: golden outputs in a child, then both on the held-out examples."""
        terms = self._terms
        split = "test" if state.attempt == "sweep" else "held_out"  # a sweep has chosen by the evaluation split
        try:
            artifact = self._versions.artifact(state.number)
            if problems := prove(artifact, trusted=False).problems:
                return self._failed(state, " ".join(problems))
            found = compare(
                self._versions.artifact(), artifact, terms.data, max_drop=terms.max_drop,
                max_latency_ms=terms.max_latency_ms, alpha=terms.alpha, split=split, seed=terms.seed,
            )  # fmt: skip
        except DeploykitError as error:
            return self._failed(state, f"its gate could not be run: {error.message}")
        gate = found.to_json()
        if not found:
            return self._failed(replace(state, gate=gate), f"{found.verdict}: {found.checks[0].text}")
        return self._trial(replace(state, gate=gate), f"gate: {found.checks[0].text}")

    # -- trials -------------------------------------------------------------------------------------------------------

    def _trial(self, state: UpdateState, why: str, after: str = "") -> UpdateState:
        """Begin the next trial, or promote."""
        names: Sequence[str] = [trial for trial in TRIALS if trial in self._terms.trials]
        left = names[names.index(after) + 1 :] if after else names
        step = left[0] if left else "promote"
        if waits := self._unsigned(state.number):
            return replace(state, waits=waits)
        if waits := self._waits(state, step):
            return replace(state, waits=waits)
        if step == "promote":
            self._versions.promote(state.number)
            self._follow()
            return state.now("promoted", why, before=self._counts(), evidence=None)
        before = self._counts()  # of this version there may be some from an earlier trial
        self._versions.try_out(state.number, share=self._terms.canary_share if step == "canary" else 0.0)
        self._follow()
        return state.now("shadow" if step == "shadow" else "canary", why, before=before, evidence=None)

    def _unsigned(self, number: int) -> str:
        """What a version that passed its gate waits for before servers see it: a signature, where there must be one."""
        found = self._versions.artifact(number)
        if found.signed:
            return ""
        if self._terms.sign is not None:
            found.sign(self._terms.sign)
        elif self._versions.artifact().signed:
            return f"a signature, which version {self._versions.serving} has: sign {found.path}, or give a key"
        return ""

    def _shadow(self, state: UpdateState) -> UpdateState:
        terms = self._terms
        if terms.labels:
            return self._tried(state, TrialEvidence.labeled(terms.max_drop, terms.alpha))
        return self._tried(state, TrialEvidence.agreement(terms.max_differing, terms.alpha))

    def _canary(self, state: UpdateState) -> UpdateState:
        return self._tried(state, TrialEvidence.failures(self._terms.max_failing, self._terms.alpha))

    def _tried(self, state: UpdateState, question: TrialEvidence) -> UpdateState:
        state = self._counted(state, question)
        assert state.evidence is not None
        verdict = state.evidence.verdict
        if verdict == "reject":
            return self._back(state, str(state.evidence))
        if verdict == "promote":
            return self._trial(state, str(state.evidence), after=state.step)
        return replace(state, waits="more labels" if "better" in question.losses else "more requests")

    def _counted(self, state: UpdateState, question: TrialEvidence) -> UpdateState:
        """The state with what was counted since it was last looked at."""
        now, number = self._counts(), str(state.number)
        known = state.evidence.counts if state.evidence is not None else {}
        new: dict[str, int] = {}
        for server, kinds in now.items():
            version, _, place = server.partition("@")
            if version == number:
                new = added(new, since(kinds, state.before.get(f"{version}@{place}", {})))
        if question.question.startswith("answers"):  # of copies: what failed is the shadow's
            new = {**new, "failed": new.get("broken", 0)}
        return replace(state, before=now, evidence=question.with_counts(added(known, new)))

    def _counts(self) -> dict[str, dict[str, int]]:
        """Counts by version and server."""
        found = {}
        for place, server in enumerate(self._terms.servers):
            for version, kinds in counted(server, self._terms.name, self._terms.token).items():
                found[f"{version}@{place}"] = kinds
        return found

    def _follow(self) -> None:
        """Have servers of this process look at once; others look by themselves."""
        for server in self._terms.servers:
            if isinstance(server, Server):
                server.load(self._terms.name)

    # -- the end ------------------------------------------------------------------------------------------------------

    def _promoted(self, state: UpdateState) -> UpdateState:
        """The bake: the version before stays loaded, and comes back if the new one fails."""
        pointer = self._versions.pointer()
        if pointer.serving != state.number:
            return state.now("rolled_back", f"version {pointer.serving} was made to answer by hand")
        if self._terms.servers:
            state = self._counted(state, TrialEvidence.failures(self._terms.max_failing, self._terms.alpha))
            assert state.evidence is not None
            if state.evidence.verdict == "reject":
                return self._back(state, str(state.evidence))
        if time.time() < pointer.promoted + self._terms.bake_seconds:
            return replace(state, waits="the end of the bake")
        self._versions.settle()
        self._follow()
        return state.now("watching", f"version {state.number} answers")

    def _back(self, state: UpdateState, why: str) -> UpdateState:
        pointer = self._versions.pointer()
        if state.number in (pointer.shadow, pointer.canary, pointer.serving):
            self._versions.rollback()
            self._follow()
        return state.now("rolled_back", why)

    def _rolled_back(self, state: UpdateState) -> UpdateState:
        pointer = self._versions.pointer()
        if pointer.shadow or pointer.canary:
            self._versions.rollback()
            self._follow()
        return state.now("watching", f"version {pointer.serving} still answers")


def _words(alarm: Mapping[str, Any]) -> str:
    when = alarm.get("since")
    what = alarm.get("text") or alarm.get("what") or "alarmed"
    moment = clock(when) if isinstance(when, float) else when  # seconds since 1970, as monitors say it
    return f"{what}{f' (since {moment})' if when is not None else ''}"
