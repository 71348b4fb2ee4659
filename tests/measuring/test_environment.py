"""How the CPU of a host is named, from files as Linux shows them on four kinds of machine."""

import platform

import pytest

from deploykit.measuring import environment

_INTEL = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Processor\nflags\t\t: fpu avx2\n"
_PI = "processor\t: 0\nBogoMIPS\t: 108.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\nHardware\t: BCM2835\n"
_ARM_SERVER = "processor\t: 0\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd0c\n"


@pytest.mark.parametrize(
    ("cpuinfo", "board", "name"),
    [
        (_INTEL, "", "Intel(R) Xeon(R) Processor"),
        (_PI, "Raspberry Pi 4 Model B Rev 1.4\0", "Raspberry Pi 4 Model B Rev 1.4"),
        (_PI, "", "BCM2835"),
        (_ARM_SERVER, "", "aarch64 0x41 0xd0c"),
        ("", "", "aarch64"),
    ],
)
def test_the_name_of_a_cpu(cpuinfo, board, name, monkeypatch):
    """Boards of different speed name the same chip: their own name keeps their measurements apart."""
    files = {"/proc/cpuinfo": cpuinfo, "/proc/device-tree/model": board}
    monkeypatch.setattr(environment, "_read", files.get)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert environment._cpu_name() == name
