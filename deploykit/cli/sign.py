"""``deploykit sign ARTIFACT --key FILE``."""

from __future__ import annotations

import argparse

import deploykit as dk
from deploykit.cli._shared.show import show

HELP = "Sign an artifact, so that others can require that it comes from you and has not changed."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("artifact", metavar="ARTIFACT", help="artifact folder")
    parser.add_argument(
        "--key", metavar="FILE", required=True, help="private key (PEM), as deploykit key pair makes one"
    )


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    artifact = dk.Artifact.open(options.artifact)
    signature = artifact.sign(options.key)
    show(options, f"signed: {signature}", {"artifact": str(artifact.path), "signature": str(signature)})
