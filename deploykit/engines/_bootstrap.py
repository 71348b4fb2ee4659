"""The small worker that is sent to a machine whose Python may be any: it says what is there, and begins to serve.

Only its source is used, by ``python -c`` on the other side: it keeps to what Python 3.6 understands and imports nothing
that does not come with Python before it has said what it found.
"""

import json
import os
import platform
import sys

# On a line of its own, after whatever the machine's shell says at a login.
MARK = b"\0deploykit "


def start(version, serving=True):  # type: ignore[no-untyped-def]  # older Pythons read this as well
    """Say what is here; serve when that is wanted and deploykit has the given version."""
    found = {
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": "%s %s" % (platform.system(), platform.machine()),  # noqa: UP031
        "fits": sys.version_info >= (3, 11),
        "version": "",
        "missing": "",
    }
    serve = None
    if found["fits"]:
        try:
            from deploykit._version import __version__

            found["version"] = __version__
            if found["version"] == version:
                for needed in ("msgspec", "numpy", "psutil"):
                    __import__(needed)
                if serving:
                    from deploykit.engines import _lent

                    serve = _lent.serve
        except ImportError as error:
            found["missing"] = str(error)
    os.write(1, b"\n" + MARK + json.dumps(found).encode() + b"\n")
    if serve is not None:
        serve()
