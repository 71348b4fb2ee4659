"""Settings of layouts for clusters, beside those of their container."""

from __future__ import annotations

from deploykit.core.errors import SettingError
from deploykit.core.parameter import Parameter
from deploykit.exporters._contract import Draft

REPLICAS = Parameter("replicas", "int", 2, "Fewest containers in production.", minimum=1, maximum=1000)
MOST_REPLICAS = Parameter("max_replicas", "int", 10, "Most containers in production.", minimum=1, maximum=1000)
PARAMETERS = (REPLICAS, MOST_REPLICAS)


def replicas(draft: Draft, least: str = "replicas") -> tuple[int, int]:
    """Fewest and most containers.

    Args:
        draft: What is exported.
        least: Name of the parameter for the fewest.

    Raises:
        SettingError: The most are less than the fewest.
    """
    low, high = draft.parameters[least], draft.parameters["max_replicas"]
    assert isinstance(low, int)
    assert isinstance(high, int)
    if high < low:
        raise SettingError(
            f"The setting max_replicas={high} is less than {least}={low}.", remedy=f"give at least {low}."
        )
    return low, high
