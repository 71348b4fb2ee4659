"""Readers that misbehave in their child process."""

import ctypes
import time


def segfault(arguments, report):
    ctypes.string_at(0)


def hang(arguments, report):
    time.sleep(600)


def grow(arguments, report):
    held = []
    for _ in range(200):
        held.append(bytes(b"x" * (100 << 20)))
        time.sleep(0.02)
    return {}


def surprise(arguments, report):
    raise ZeroDivisionError("a line")
