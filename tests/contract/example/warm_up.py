"""One more option of a sweep, as it would be declared in deploykit/core/settings/options.py."""

from typing import Annotated, TypedDict

from deploykit.core.settings.option import option


class WarmUpOptions(TypedDict, total=False):
    """What comes before timing."""

    warm_up: Annotated[
        int,
        option("int", 3, "Inferences before a session is timed.", label="Warm-up", metavar="N", minimum=0, maximum=50,
               special=(-1, "wait until latency is steady"), unit="inferences", panel=True),
    ]  # fmt: skip
    strategy: Annotated[
        str,
        option("choice", "sleep", "What is done between launches.", label="Between launches", metavar="NAME",
               choices=("sleep", "busy_wait"), panel=True),
    ]  # fmt: skip
    cool_down: Annotated[
        bool,
        option("bool", False, "Wait between sessions until the machine is cool.", label="Cool down", panel=True),
    ]
