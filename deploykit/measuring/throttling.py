"""Whether a machine slows itself down: because it is hot, or its power supply is weak. Linux only.

Three places say so: the counters of Intel's thermal events, a Raspberry Pi's firmware, and the cooling devices by which
the kernel limits the frequency of processors on other boards. Where none of them exists, nothing is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

ROOT = Path("/sys/devices")
COOLERS = Path("/sys/class/thermal")
#: Bits of a Raspberry Pi's ``get_throttled``: what holds now; the same 16 bits higher: what has happened since boot.
_PI = {
    0: "the voltage is too low",
    1: "the frequency is capped",
    2: "it is throttled",
    3: "it is at its soft limit of temperature",
}
_PI_FILE = "platform/soc/soc:firmware/get_throttled"
_INTEL = ("core_throttle_count", "package_throttle_count")
_LIMITERS = ("cpufreq", "processor")


def marks(root: Path = ROOT, coolers: Path = COOLERS) -> dict[str, int]:
    """What the system shows of its own slowing down, by name: counters, and levels that are 0 while it does not.

    Args:
        root: Where the system shows its hardware.
        coolers: Where it shows its cooling devices.

    Example:
        >>> all(value >= 0 for value in marks().values())
        True
    """
    found = {}
    for name in _INTEL:
        counts = [_number(f) for f in root.glob(f"system/cpu/cpu[0-9]*/thermal_throttle/{name}")]
        if counts:
            found[name] = sum(counts)
    if (pi := root / _PI_FILE).exists():
        found["pi"] = _number(pi, 16)
    for kind in coolers.glob("cooling_device*/type"):
        if any(word in _text(kind).lower() for word in _LIMITERS):
            found[f"cooling {kind.parent.name}"] = _number(kind.with_name("cur_state"))
    return found


def slowed(before: Mapping[str, int], after: Mapping[str, int]) -> str:
    """Why the machine was slower between two readings of `marks` than it can be, "" if nothing says so.

    Example:
        >>> slowed({"core_throttle_count": 3}, {"core_throttle_count": 7})
        'the processor was too hot (4 thermal events)'
        >>> slowed({"cooling cooling_device0": 0}, {"cooling cooling_device0": 0})
        ''
    """
    said: dict[str, None] = {}
    if events := sum(max(0, after.get(n, 0) - before.get(n, 0)) for n in _INTEL):
        said[f"the processor was too hot ({events} thermal event{'s' if events != 1 else ''})"] = None
    now, then = after.get("pi", 0), before.get("pi", 0)
    for bit, words in _PI.items():
        happened = (now >> (16 + bit)) & ~(then >> (16 + bit)) & 1
        if (now | then) >> bit & 1 or happened:
            said[f"the board's firmware says that {words}"] = None
    if any(after.get(n, 0) > 0 or before.get(n, 0) > 0 for n in {*before, *after} if n.startswith("cooling ")):
        said["the kernel limited the processor's frequency to cool it"] = None
    return "; ".join(said)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _number(path: Path, base: int = 10) -> int:
    try:
        return max(0, int(_text(path), base))
    except ValueError:
        return 0
