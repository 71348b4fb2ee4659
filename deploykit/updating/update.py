"""``dk.update``: from an alarm to a better version, step by step, with what is served safe at any time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploykit.artifacts.signing import check_private_key
from deploykit.artifacts.versions import Versions
from deploykit.core import extras
from deploykit.core.errors import SettingError, StoreError, unknown_name
from deploykit.core.model import Model
from deploykit.data.dataset import Dataset
from deploykit.serving.server import Server
from deploykit.updating.counting import alarm_of
from deploykit.updating.loop import APPROVABLE, ATTEMPTS, TRIALS, Loop, Terms
from deploykit.updating.row import UpdateState

Approve = Collection[str] | Callable[[str, UpdateState], bool]


def update(
    folder: str | Path | Versions,
    *,
    alarm: Any,
    model: Model | str | Path,
    data: Any,
    window: str | Path | None = None,
    notebook: str | Path | None = None,
    server: Server | str | Sequence[Server | str] = (),
    token: str = "",
    max_drop: float = 0.01,
    max_latency_ms: float | None = None,
    max_differing: float = 0.02,
    max_failing: float = 0.01,
    alpha: float = 0.01,
    attempts: Sequence[str] = ATTEMPTS,
    trials: Sequence[str] | None = None,
    canary_share: float = 0.05,
    space: str = "quick",
    bake_seconds: float = 3600.0,
    approve: Approve = (),
    allow: Collection[str] = (),
    sign: str | Path | None = None,
    labels: bool = False,
    seed: int = 0,
) -> UpdateState:
    """Take an update as far as it goes now: on an alarm, make a candidate, prove it, try it out, promote it or go back.

    Call it again and again (``deploykit update --watch``): where the update stands is one row in ``update.sqlite``
    beside the versions. Whatever dies at whatever moment, the version that answered still answers, and the next
    call takes the step again. The steps:

    1. *watching*: nothing happens until the alarm says so. An alarm that was acted on starts nothing more until it
       changes.
    2. *alarmed*, *optimizing*: papermill runs a notebook that makes a candidate. First the incumbent's recipe is
       calibrated again with the recent inputs of ``window``; then the recipe is repeated with ``data``; then a sweep
       looks for a better one.
    3. *candidate*: its gate is `compare` with the incumbent; if it does not pass, the next attempt is made.
    4. *shadow*: it gets copies of requests, until it is confirmed to answer differently in less than
       ``max_differing`` of them, or in more (with ``labels``: to lose less of the accuracy than ``max_drop``, or more).
       *canary*: it answers a share, until it is confirmed to fail in less than ``max_failing`` of them, or in more.
    5. *promoted*: it answers, and the version before stays loaded for ``bake_seconds``. Or *rolled_back*.

    Recent inputs only calibrate: nothing is trained on them, nor on answers of a model.

    Args:
        folder: The model's versions, see `Versions`; one of them is served.
        alarm: A `Monitor`, or the address of a server that watches itself; True or False; what an alarm says
            (``{"alarmed": True, "since": …}``), a JSON file of that, an object with ``alarmed``, or a function that
            gives one of these.
        model: The original model that the incumbent was made of.
        data: Labeled data, a Dataset or a pair (x, y): what recipes are built with, and gates are decided on.
        window: Recent inputs without labels: an ``.npz`` with an array for each input.
        notebook: Your own notebook instead: it gets the same parameters, and leaves an artifact at ``out_path``.
        server: The running server of the folder, or its address; several as a list. Trials need one.
        token: A token with the scope ``metrics``, for servers that take them.
        max_drop: Largest loss that the gate accepts, see `compare`.
        max_latency_ms: Largest latency that the gate accepts; None: it is not measured.
        max_differing: Share of a shadow's answers that may differ.
        max_failing: Share of a canary's requests that may fail.
        alpha: Error rate of each of these decisions.
        attempts: Which of ``"recalibrate"``, ``"recipe"`` and ``"sweep"``, in this order.
        trials: Which of ``"shadow"`` and ``"canary"``; None: both where there is a server.
        canary_share: Share of the requests that a canary answers.
        space: What the sweep tries, see ``dk.Space``.
        bake_seconds: How long the version before stays loaded.
        approve: Steps that a person must allow: some of ``"optimize"``, ``"shadow"``, ``"canary"`` and ``"promote"``;
            or a function of such a step and the state that says whether it may be taken.
        allow: Steps of the run in progress that you allow now.
        sign: PEM file of the private key that a candidate is signed with when it has passed its gate. Without one, a
            candidate for the place of a signed version waits until you have signed it.
        labels: Decide the shadow by labels, which `Server.feedback` takes: until it is confirmed to lose less than
            ``max_drop`` of the accuracy against what answered the same requests, or more. A candidate that is better
            answers differently, which alone would reject it.
        seed: Seed of what is built.

    Returns:
        Where it stands, and what it waits for.

    Raises:
        ExportError: The folder has no versions.
        StoreError: Another process is updating it, or its row cannot be read.
        SettingError: A value out of range.

    Example:
        >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
        >>> versions = dk.Versions("exported/watched")
        >>> number = versions.add(dk.export(built, "exported/watched-first", overwrite=True))
        >>> state = dk.update(versions, alarm={"alarmed": True, "since": "noon"}, model=model, data=data,
        ...                   approve=["optimize"])
        >>> state.step, state.waits
        ('alarmed', 'a person who allows "optimize"')
    """
    extras.check("sweep")
    versions = folder if isinstance(folder, Versions) else Versions.open(folder)
    servers = (server,) if isinstance(server, Server | str) else tuple(server)
    chosen = (TRIALS if servers else ()) if trials is None else tuple(trials)
    known: tuple[tuple[str, Collection[str], Sequence[str]], ...] = (
        ("attempt", attempts, ATTEMPTS),
        ("trial", chosen, TRIALS),
        ("step", allow, APPROVABLE),
        ("step", () if callable(approve) else approve, APPROVABLE),
    )
    for what, given, names in known:
        for name in given:
            if name not in names:
                raise unknown_name(what, name, names)
    if chosen and not servers:
        raise SettingError("A trial needs a server whose requests are counted.", remedy="give server=, or trials=().")
    if not 0 < canary_share < 1:
        raise SettingError(f"The share of a canary must be above 0 and below 1, got {canary_share!r}.")
    path = Path(model.path if isinstance(model, Model) else model).expanduser().absolute()
    for what, file in (("model", path), ("window", window), ("notebook", notebook)):
        if file is not None and not Path(file).exists():
            raise SettingError(f"There is no {what} {str(file)!r}.", remedy="check the path.")
    if sign is not None:
        check_private_key(sign)
    terms = Terms(
        model=str(path), data=Dataset.of(data), window=_absolute(window), notebook=_absolute(notebook),
        servers=servers, token=token, name=_name(versions, servers), max_drop=max_drop,
        max_latency_ms=max_latency_ms, max_differing=max_differing, max_failing=max_failing, alpha=alpha,
        attempts=tuple(attempts), trials=chosen, canary_share=canary_share, space=space, bake_seconds=bake_seconds,
        approve=approve, sign=_absolute(sign), labels=labels, seed=seed,
    )  # fmt: skip
    with _alone(versions.folder):
        return Loop(versions, terms, alarm_of(alarm, token)).run(allow)


def _absolute(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path).expanduser().absolute()


def _name(versions: Versions, servers: Sequence[Server | str]) -> str:
    """The name that servers know the model by: the folder's, unless one of this process serves it by another."""
    for server in servers:
        if isinstance(server, Server):
            for model in server.models:
                with_same = [str(v["version"]) for v in model["versions"] if v["state"] == "AVAILABLE"]
                if str(versions.serving) in with_same:
                    return str(model["name"])
    return versions.folder.name


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """The block in which no other process updates the same model.

    Raises:
        StoreError: Another one does.
    """
    import filelock

    try:
        with filelock.FileLock(folder / ".update.lock", timeout=0):
            yield
    except filelock.Timeout as error:
        raise StoreError(f"Another process is updating {folder}.", remedy="wait for it.") from error
