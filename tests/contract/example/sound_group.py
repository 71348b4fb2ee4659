"""An import group in one file, as an outsider would write it: what tasks on recordings find imported already."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, ClassVar

from deploykit.sandbox.groups._contract import Costs, ImportGroup


class Sound(ImportGroup):
    """What reads and writes recordings."""

    name = "sound"
    label = "sound"
    help = "Tasks on recordings."
    modules = ("wave", "a_package_that_is_not_installed")
    later = ("colorsys",)
    environment: ClassVar[Mapping[str, str]] = {"SOUND_TMPDIR": "/nowhere"}
    defaults: ClassVar[Mapping[str, str]] = {"SOUND_LEVEL": "2", "SOUND_MODE": "quick"}
    costs = Costs(start_s=7.0, step=(3.0, 0), open_s=(0.5, 0.0), build_s=(4.0, 0.0))


def seen(arguments: dict[str, Any], report: Any) -> dict[str, Any]:
    """Task: which modules are imported already, and the variables of the group."""
    return {
        "loaded": [name for name in arguments["modules"] if name in sys.modules],
        "variables": {name: value for name, value in os.environ.items() if name.startswith("SOUND_")},
    }


ADAPTER = Sound()
