"""``deploykit worker ADDRESS``."""

from __future__ import annotations

import argparse

from deploykit.core.registry import registry

HELP = "Make this machine a worker of a cluster. It runs tasks of sweeps started with --engine NAME://ADDRESS."
_TRUST = (
    "A worker runs any code sent to its port, with your permissions, and so does the scheduler: anyone who can reach "
    "them is trusted. The worker listens on the one address of this machine that reaches the scheduler. On a shared "
    "network, use a tls:// address with the three --tls files, or Dask's own TLS configuration (distributed.comm.tls)."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    known = tuple(e.name for e in registry("deploykit.engines", "engine").all() if e.has_workers)
    parser.epilog = _TRUST
    parser.add_argument(
        "address", metavar="ADDRESS", help="address of the scheduler, for example tcp://host:8786 or tls://…"
    )
    parser.add_argument(
        "--slots", metavar="N", type=int, default=0, help="number of tasks to run at once (default: one per core)"
    )
    parser.add_argument(
        "--device", metavar="NAME", action="append", default=[], help="offer a device besides the CPU, for example cuda"
    )
    parser.add_argument(
        "--folder",
        metavar="FOLDER",
        default="",
        help="where to keep the files tasks need (default: in the user's cache)",
    )
    parser.add_argument(
        "--shared",
        metavar="FOLDER",
        action="append",
        default=[],
        help="folder that the driver has as well, such as that of its stores on a network disk: data below it are read "
        "in place after comparing their digest, instead of being sent; THEIRS=OURS if the driver has it at another "
        "path (repeatable)",
    )
    parser.add_argument(
        "--host",
        metavar="IP",
        default="",
        help="address of this machine to listen on (default: the one that reaches the scheduler)",
    )
    parser.add_argument("--tls-ca-file", metavar="FILE", help="certificate authority file, for tls:// (PEM)")
    parser.add_argument("--tls-cert", metavar="FILE", help="this machine's certificate (PEM)")
    parser.add_argument("--tls-key", metavar="FILE", help="this machine's private key (PEM)")
    parser.add_argument("--engine", choices=known, default=known[0], help=f"engine to work for (default: {known[0]})")


def run(options: argparse.Namespace) -> int:
    """Run the verb."""
    engine = registry("deploykit.engines", "engine").get(options.engine)
    tls = _tls(options)
    return int(
        engine.work(
            options.address, options.slots, options.device, options.folder, host=options.host, tls=tls,
            shared=options.shared,
        )
    )  # fmt: skip


def _tls(options: argparse.Namespace) -> dict[str, str] | None:
    given = {"ca_file": options.tls_ca_file, "cert": options.tls_cert, "key": options.tls_key}
    if not any(given.values()):
        return None
    if not all(given.values()):
        raise argparse.ArgumentTypeError("--tls-ca-file, --tls-cert and --tls-key go together: give all three.")
    return given
