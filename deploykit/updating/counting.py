"""What servers have counted of a model's versions: how requests ended, and how a shadow's answers compare."""

from __future__ import annotations

import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from deploykit.core.errors import ServeError, SettingError
from deploykit.serving.observing.monitor import monitor
from deploykit.serving.server import Server

#: Statuses of gRPC that are the server's fault, as all of HTTP from 500 on are.
_FAULTS = frozenset({"UNKNOWN", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "DEADLINE_EXCEEDED", "UNIMPLEMENTED"})
_DEADLINE_S = 10.0
_MOST_BYTES = 64 << 20

#: Version → kind of outcome → how often.
Counts = dict[str, dict[str, int]]


def counted(server: Server | str, model: str, token: str = "") -> Counts:
    """Counts of a running server.

    Args:
        server: The server, or its address.
        model: Name of the model.
        token: A token with the scope ``metrics``, for a server that takes them.

    Returns:
        Version → ``answered``, ``failed``; and of a shadow's copies ``same``, ``agrees``, ``differs``, ``broken`` (the
        shadow failed) and ``dropped``, and of those whose label has come ``both``, ``neither``, ``better`` (the shadow
        alone was right) and ``worse``.

    Raises:
        ServeError: The server does not answer.
    """
    from prometheus_client.parser import text_string_to_metric_families

    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for family in text_string_to_metric_families(_metrics(server, token)):
        for sample in family.samples:
            labels = sample.labels
            if labels.get("model") != model:
                continue
            kind = ""
            if sample.name == "deploykit_requests_total":
                kind = _ended(labels["status"])
            elif sample.name == "deploykit_shadow_total":
                kind = {"failed": "broken"}.get(labels["outcome"], labels["outcome"])
            elif sample.name == "deploykit_labeled_total":
                kind = labels["outcome"]
            if kind:
                found[labels["version"]][kind] += int(sample.value)
    return {version: dict(kinds) for version, kinds in found.items()}


def _ended(status: str) -> str:
    """How a request ended; "" for one that the client got wrong, which shows nothing of the version."""
    if status == "OK" or status.startswith("2"):
        return "answered"
    return "failed" if status in _FAULTS or status.startswith("5") else ""


def _metrics(server: Server | str, token: str) -> str:
    if isinstance(server, Server):
        return server.metrics()
    if not str(server).startswith(("http://", "https://")):
        raise SettingError(f"Expected a server or its address, got {server!r}.", remedy='"http://127.0.0.1:8501".')
    request = urllib.request.Request(f"{server.rstrip('/')}/metrics")  # noqa: S310  the scheme was checked
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=_DEADLINE_S) as answer:  # noqa: S310
            text: str = answer.read(_MOST_BYTES).decode("utf-8", "replace")
            return text
    except OSError as error:
        raise ServeError(f"{server} does not say what it has counted: {error}.", remedy="start the server.") from error


def since(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """What was counted since; a server that was restarted began again."""
    return {kind: count - before.get(kind, 0) if count >= before.get(kind, 0) else count for kind, count in now.items()}


def added(some: Mapping[str, int], others: Mapping[str, int]) -> dict[str, int]:
    """Sums by kind."""
    return {kind: some.get(kind, 0) + others.get(kind, 0) for kind in {*some, *others}}


def alarm_of(alarm: Any, token: str = "") -> dict[str, Any]:
    """What an alarm says, {} for none.

    Args:
        alarm: True or False, what an alarm says (``{"alarmed": True, "since": …}``), a JSON file of that, the address
            of a server that watches itself, an object with ``alarmed`` (such as a `Monitor`) or ``to_json()``, or a
            function that gives one of these.
        token: A token with the scope ``metrics``, for a server that takes them.

    Raises:
        SettingError: It is none of these.
    """
    from pathlib import Path

    from deploykit.core.files import read_small
    from deploykit.core.serial import parse, to_plain

    if isinstance(alarm, str) and alarm.startswith(("http://", "https://")):
        with monitor(alarm, token=token) as watched:
            return alarm_of(watched)
    if isinstance(alarm, str | Path):
        if not Path(alarm).exists():
            return {}
        try:
            alarm = parse(read_small(Path(alarm), 1 << 20, "the alarm", SettingError))
        except ValueError as error:
            raise SettingError(f"The alarm in {alarm} is not JSON: {error}.") from error
    elif callable(alarm) and not hasattr(alarm, "alarmed"):
        return alarm_of(alarm(), token)
    if alarm is None or isinstance(alarm, bool):
        return {"alarmed": True} if alarm else {}
    if not isinstance(alarm, Mapping) and hasattr(alarm, "alarmed"):
        said = alarm.alarmed
        known = {name: found for name in ("since", "text") if (found := getattr(alarm, name, None)) is not None}
        alarm = {"alarmed": bool(said() if callable(said) else said), **known}
    elif hasattr(alarm, "to_json"):
        alarm = alarm.to_json()
    if not isinstance(alarm, Mapping) or not isinstance(alarm.get("alarmed"), bool):
        raise SettingError(
            f"Expected an alarm, got {type(alarm).__name__} without alarmed=True or False.",
            remedy='give True or False, {"alarmed": True, "since": …}, a JSON file of that, or a function that does.',
        )
    plain: dict[str, Any] = to_plain(dict(alarm))
    return plain if plain["alarmed"] else {}
