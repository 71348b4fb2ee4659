"""A metric that is a function of the user's."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import SettingError
from deploykit.metrics._contract import Metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Custom(Metric):
    """A function of the user: ``function(outputs, labels)`` → one value for each example, shape (examples,).

    Set ``function.higher_is_better = False`` or ``function.relative = True`` when that is so.
    """

    label = "custom metric"

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = getattr(function, "__name__", "custom")  # type: ignore[misc]  # the adapter's name is per function
        self.label = self.name.replace("_", " ")  # type: ignore[misc]
        self.higher_is_better = bool(getattr(function, "higher_is_better", True))  # type: ignore[misc]
        self.relative = bool(getattr(function, "relative", False))  # type: ignore[misc]

    def identity(self) -> str:
        """Source of the function where it can be had: a changed function is another metric."""
        try:
            return inspect.getsource(self.function)
        except (OSError, TypeError):
            return repr(self.function)

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs labels."""
        return "" if truth is not None else "needs labels"

    def values(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """The function's values.

        Raises:
            SettingError: The function fails or gives something else than one number for each example.
        """
        import numpy as np

        try:
            found = np.asarray(self.function(outputs, truth), np.float64)
        except Exception as error:
            raise SettingError(f"The metric {self.name} failed: {type(error).__name__}: {error}.") from error
        return self._checked(found, len(outputs))

    def _checked(self, found: NDArray[np.float64], count: int) -> NDArray[np.float64]:
        if found.shape != (count,):
            raise SettingError(
                f"The metric {self.name} gave values of shape {found.shape}, expected ({count},).",
                remedy="return one value for each example: candidates are compared example by example.",
            )
        return found
