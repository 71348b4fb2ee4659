"""The reference profile of an artifact."""

from __future__ import annotations

import logging

from deploykit.artifacts.artifact import Artifact, OpenedArtifact
from deploykit.core.errors import DeploykitError
from deploykit.monitoring.profile import Profile

_log = logging.getLogger("deploykit.monitoring")


def profile_of(artifact: Artifact) -> Profile | None:
    """The profile, if the artifact has one; one that cannot be read keeps nothing from being served."""
    try:
        with artifact.opened() as files:
            return read_profile(files)
    except DeploykitError as error:
        _log.error("%s is not watched for drift: %s", artifact.path, error)
        return None


def read_profile(files: OpenedArtifact) -> Profile | None:
    """The profile among the files of an artifact; None, and a line in the log, where it cannot be read."""
    try:
        content = files.profile()
        return None if content is None else Profile.from_bytes(content, files.manifest.model_digest)
    except DeploykitError as error:
        _log.error("%s is not watched for drift: %s", files.folder, error)
        return None
