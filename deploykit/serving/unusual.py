"""How unusual a request is, said with its answer when a client asks for it (the parameter ``outlier``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DeploykitError
from deploykit.monitoring.outliers import score_outliers
from deploykit.serving.faults import InvalidInputError
from deploykit.serving.protection.guard import CALLER, ForbiddenError

if TYPE_CHECKING:
    from deploykit.serving.batches import Batch
    from deploykit.serving.dataplane import DataPlane

#: The parameter of a request that asks for it.
OUTLIER = "outlier"


def check_outlier(plane: DataPlane) -> None:
    """Raise unless this model can say it, and may say it to this client.

    Raises:
        InvalidInputError: The artifact has no profile.
        ForbiddenError: The client sees limited outputs only: how unusual a request is says more than these.
    """
    if plane.profile is None:
        raise InvalidInputError(
            f"{OUTLIER!r}: {plane.name!r} holds no profile of the data it was measured on, so nothing can be said of a "
            "request; export it again."
        )
    caller = CALLER.get()
    if caller is not None and caller.token.outputs != "all":
        raise ForbiddenError(f"The token {caller.token.name!r} sees {caller.token.outputs} of class scores alone.")


def outliers(plane: DataPlane, batch: Batch) -> dict[str, Any]:
    """Parameters of an answer; runs the model once more, in the thread that it belongs to at the time.

    Returns:
        For each example ``outlier_p_value``, the share of the reference that is at least as unusual,
        ``outlier_unseen``, whether it is further off than all of the reference, and ``outlier_because``, in words.

    Raises:
        InvalidInputError: The examples are of other sizes than the reference's.
    """
    outputs = plane.infer(batch)
    assert plane.profile is not None
    try:
        found = score_outliers(plane.profile, batch.arrays, outputs, plane.embedding)
    except DeploykitError as error:
        raise InvalidInputError(f"{OUTLIER!r}: {error}") from error
    return {
        "outlier_p_value": [one.p_value for one in found],
        "outlier_unseen": [one.unseen for one in found],
        "outlier_because": ["; ".join(one.because) for one in found],
    }
