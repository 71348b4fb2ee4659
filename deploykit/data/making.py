"""From what a reader found to a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from deploykit.core.parameter import Parameter, complete
from deploykit.data.examples import Examples
from deploykit.data.labels import class_names
from deploykit.data.preprocess import Preprocess
from deploykit.data.reading import Found, Origin
from deploykit.data.splitting import by_input, raw_inputs, split_up

_SETTINGS = (Parameter("seed", "int", 0, minimum=0), Parameter("calibration_size", "int", 200, minimum=1))


class Made(Examples):
    """Examples that are made of arrays as readers give them."""

    @classmethod
    def _made(
        cls,
        origin: Origin,
        x: Any,
        y: Any = None,
        x_test: Any = None,
        y_test: Any = None,
        preprocess: Preprocess | Mapping[str, Preprocess] | None = None,
        classes: Sequence[str] | Mapping[Any, Any] = (),
        **settings: Any,
    ) -> Self:
        numbers = complete(_SETTINGS, settings, "Dataset")
        given = class_names(classes)
        raw = raw_inputs(preprocess, x)
        splits, names, reading = split_up(origin, x, y, x_test, y_test, given, numbers["seed"], raw)  # type: ignore[arg-type]  # a whole number
        data = cls(splits, by_input(preprocess, splits["train"].inputs), names, **numbers, reading=reading)  # type: ignore[arg-type]  # whole numbers
        data.batch("evaluation", slice(0, 2))  # preprocessing that cannot work fails here
        return data

    @classmethod
    def _found(cls, found: Found, options: Mapping[str, Any]) -> Self:
        """What a reader found, with the options of `Dataset.from_arrays` that were given."""
        return cls._made(found.origin, **{**found.arguments, **options})
