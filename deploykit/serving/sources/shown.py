"""What a catalog says of its models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from deploykit.serving.splits import Split


def facts(state: Mapping[str, Any], wished: Iterable[str]) -> list[dict[str, Any]]:
    """Names, versions, their states, labels, and how requests are spread.

    Args:
        state: What workers serve, see `deploykit.serving.processes.holder`.
        wished: Names of the models that are wanted.
    """
    served = {(one["name"], one["version"]) for one in state["models"]}
    return [
        {
            "name": name,
            "versions": [
                {"version": version, **dict(zip(("state", "code", "message"), said, strict=True))}
                for version, said in sorted(
                    {
                        **state["states"].get(name, {}),
                        **{v: ("AVAILABLE", "OK", "") for n, v in served if n == name},
                    }.items(),
                    key=lambda item: int(item[0]),
                )
            ],
            "labels": state["labels"].get(name, {}),
            "split": state["splits"].get(name, Split().to_json()),
        }
        for name in dict.fromkeys((*wished, *state["states"]))
    ]
