"""The reference profile: a bounded map of a request, and what it gives on data that the model was measured on.

φ(x, p, e) in [0, 1]^K takes inputs as clients send them, the model's outputs and, where there is one, the embedding
that its last layer sees. It holds ranks of input statistics, of confidence and of entropy, with a second form of each
that notices a change of scale; an indicator for each predicted class; for tables a rank for each column, and whether a
value is missing or is a category that the reference has not; for text and tokens length and unknown words; and random
Fourier features of the embedding (Rahimi and Recht, NeurIPS 2007), whose means are a sketch of the maximum mean
discrepancy. One part of the reference fits the map. The other part, which the map has not seen, gives the features'
means and the band around them in which the truth lies: without a band, every detector finds the reference's own
sampling error after some thousand requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from deploykit.core.errors import DeploykitError, SettingError
from deploykit.core.serial import from_plain, to_plain
from deploykit.monitoring.answers import coordinates, probabilities
from deploykit.monitoring.head import FORMAT, Feature, Head, features_of
from deploykit.monitoring.mapping import (
    Measured,
    kept,
    mapped,
    p_value_table,
    p_values,
    phases,
    projections,
    triangle,
    vector,
)
from deploykit.monitoring.packing import pack, unpack
from deploykit.monitoring.readings import measured, texture

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Most bytes of a profile, whatever the model.
MOST_BYTES = 12 << 10
_MAGIC = b"DKPR"
#: Standard errors of the reference's mean, and share of two standard deviations, that the band is wide.
BAND_ERRORS, BAND_TOLERANCE = 3.5, 0.02
_EXPORT_AGAIN = "export the candidate again."
#: Most features that the numbers of a head can give.
_MOST_SIZE = 1 << 24


@dataclass(frozen=True)
class Observed:
    """What is kept of some requests: no raw data.

    Attributes:
        features: Shape (requests, K), float32, in [0, 1].
        rarity: p-value of each request under the reference, shape (requests,): the share of the reference that is at
            least as unusual.
        confidence: Calibrated probability that the answer is right, shape (requests,); None where answers have none.
    """

    features: NDArray[Any]
    rarity: NDArray[Any]
    confidence: NDArray[Any] | None

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True, eq=False)
class Profile:
    """What requests of a model look like as long as all is well; at most 12 KiB.

    Attributes:
        head: What is watched and how.
        arrays: Quantiles, means and deviations by name; `deploykit.monitoring.fitting.fit` makes them.

    Example:
        >>> import numpy as np
        >>> from deploykit.monitoring.fitting import fit
        >>> rng = np.random.default_rng(0)
        >>> scores = rng.dirichlet(np.ones(3), 500)
        >>> profile = fit({"x": rng.random((500, 4))}, {"y": scores}, "y", "probabilities", model="ab" * 32)
        >>> profile.observe({"x": rng.random((2, 4))}, {"y": scores[:2]}).features.shape == (2, len(profile.features))
        True
        >>> len(profile.to_bytes()) <= 12 * 1024
        True
    """

    head: Head
    arrays: Mapping[str, NDArray[Any]] = field(repr=False)

    # -- reading and writing ----------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """The file's content."""
        return pack(_MAGIC, to_plain(self.head), self.arrays)

    @classmethod
    def from_bytes(cls, data: bytes, model: str = "") -> Self:
        """Read a profile.

        Args:
            data: What `to_bytes` gave.
            model: Digest of the model it must belong to; "" for any.

        Raises:
            DeploykitError: The bytes are not a profile, or one of another model.
        """
        head, arrays = unpack(_MAGIC, data, MOST_BYTES, "the profile", DeploykitError, _EXPORT_AGAIN)
        try:
            profile = cls(from_plain(Head, head), arrays)
        except SettingError as error:
            raise DeploykitError(f"Cannot read the profile: {error.message}", remedy=_EXPORT_AGAIN) from error
        profile._check()
        if model and profile.head.model != model:
            raise DeploykitError(
                f"The profile belongs to the model {profile.head.model[:12]}…, not to {model[:12]}….",
                remedy="use the profile that was exported with this model.",
            )
        return profile

    def _check(self) -> None:
        """Raise `DeploykitError` unless numbers have the shapes that the head implies and lie where they must."""
        if said := _nonsense(self.head):
            raise DeploykitError(f"Cannot read the profile: {said}.", remedy=_EXPORT_AGAIN)
        count, found = len(self.features), {name: array.shape for name, array in self.arrays.items()}
        wanted = {**self.head.shapes, "means": (count,), "deviations": (count,)}
        if found != wanted:
            odd = sorted(n for n in {*found, *wanted} if found.get(n) != wanted.get(n))
            raise DeploykitError(
                f"Cannot read the profile: {', '.join(odd)[:100]} do not have the sizes that its head says.",
                remedy=_EXPORT_AGAIN,
            )
        if any((self.arrays[name][..., 1:] < self.arrays[name][..., :-1]).any() for name in ("knots", "rarity")):
            raise DeploykitError("Cannot read the profile: its quantiles do not ascend.", remedy=_EXPORT_AGAIN)

    # -- what is watched --------------------------------------------------------------------------------------------

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """The map's features, in order."""
        return features_of(self.head)

    @cached_property
    def means(self) -> NDArray[Any]:
        """Mean of each feature on the held-out part of the reference, shape (K,), float64."""
        import numpy as np

        return self.arrays["means"].astype(np.float64) / 65535

    @cached_property
    def deviations(self) -> NDArray[Any]:
        """Standard deviation of each feature there, shape (K,), float64."""
        import numpy as np

        return self.arrays["deviations"].astype(np.float64) / 65535

    @cached_property
    def band(self) -> NDArray[Any]:
        """How far a feature's mean may be from the reference's without that being drift, shape (K,)."""
        import numpy as np

        held = self.head.held_out
        spread = np.maximum(self.deviations, held**-0.5)
        found: NDArray[Any] = BAND_ERRORS * spread / np.sqrt(held) + BAND_TOLERANCE * np.maximum(2 * spread, 0.05)
        return found

    # -- what is done with a request --------------------------------------------------------------------------------

    def observe(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]], embedding: Any = None
    ) -> Observed:
        """Features, rarity and confidence of some requests.

        Args:
            inputs: By name as clients send them, batch first.
            outputs: By name as clients get them.
            embedding: What the last layer sees, batch first; needed if the profile was fitted with one.

        Raises:
            DeploykitError: An input or output that is watched is missing, or has another size.
        """
        import numpy as np

        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):  # clients send what they like
            raw = self.measure(inputs, outputs, embedding)
            chances = raw.chances if self.head.answered.single else None
            return Observed(
                self.map(raw),
                self.rarity(raw),
                None if chances is None else self.head.calibrated.confidence(chances, self.head.answered.group_of),
            )

    def measure(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]], embedding: Any = None
    ) -> Measured:
        """Numbers behind the features, before they are ranked; see `observe`."""
        import numpy as np

        head, found = self.head, []
        textures: list[NDArray[Any] | None] = []
        for place, read in enumerate(head.inputs):
            if read.name not in inputs:
                raise DeploykitError(f"Input {read.shown!r} is missing; the profile watches it.")
            array = np.asarray(inputs[read.name])
            if read.columns and array.reshape(len(array), -1).shape[1] <= max(read.columns):
                raise DeploykitError(
                    f"Input {read.shown!r} has shape {array.shape[1:]}; the profile was made with {read.shape}."
                )
            found.append(measured(read, array, self.arrays.get(f"vocabulary.{place}")))
            textures.append(texture(array, found[-1]) if read.sort == "tensor" else None)
        answered, chances, output = head.answered, None, None
        if answered.name:
            if answered.name not in outputs:
                raise DeploykitError(f"Output {answered.name!r} is missing; the profile watches it.")
            output = np.asarray(outputs[answered.name])
            chances = probabilities(answered, output) if answered.scored else None
            if chances is not None and chances.shape[2] != answered.width:
                raise DeploykitError(
                    f"Output {answered.name!r} has {chances.shape[2]} classes; the profile was made with "
                    f"{answered.width}."
                )
        return Measured(found, output, chances, self._projected(output, embedding), textures)

    def map(self, raw: Measured) -> NDArray[Any]:
        """Features of what was measured, shape (requests, K), float32."""
        return mapped(self.head, self.arrays, self._phases, raw)

    def unusual(self, raw: Measured) -> NDArray[Any]:
        """How far each request is from the reference's middle, shape (requests,).

        The larger one of two squared Mahalanobis distances, of the inputs' numbers and of the embedding's, each in
        units of its 95th percentile on the reference.
        """
        import numpy as np

        place = vector(self.head, self.arrays["knots"], raw) - self.arrays["center"]
        with np.errstate(invalid="ignore", over="ignore"):
            turned = (place @ self._whitening) ** 2
            own = self.head.of_inputs
            found: NDArray[Any] = np.maximum(turned[:, :own].sum(axis=1), turned[:, own:].sum(axis=1))
        return np.where(np.isfinite(found), found, np.float32(np.finfo(np.float32).max))

    def rarity(self, raw: Measured) -> NDArray[Any]:
        """p-value of each request, shape (requests,): the share of the reference that is at least as unusual."""
        return p_values(self.unusual(raw), self.arrays["rarity"], self._table)

    def _projected(self, output: NDArray[Any] | None, embedding: Any) -> NDArray[Any] | None:
        import numpy as np

        sketch = self.head.sketch
        if not sketch.features:
            return None
        if self.head.tap and embedding is None:
            raise DeploykitError(
                "The profile was made with the model's embedding, which was not given.",
                remedy="open the model with the profile's tap.",
            )
        if self.head.tap:
            source = np.asarray(embedding)
        else:
            assert output is not None
            source = coordinates(self.head.answered, output)
        flat = source.reshape(len(source), -1)
        if flat.shape[1] != sketch.width:
            raise DeploykitError(
                f"The embedding has {flat.shape[1]} numbers; the profile was made with {sketch.width}."
            )
        chosen = flat if sketch.kept == sketch.width else flat[:, kept(sketch)]
        found: NDArray[Any] = chosen.astype(np.float32, copy=False) @ self._projections
        return found

    @cached_property
    def _projections(self) -> NDArray[Any]:
        return projections(self.head.sketch, self.arrays["scales"])

    @cached_property
    def _phases(self) -> NDArray[Any]:
        return phases(self.head.sketch)

    @cached_property
    def _whitening(self) -> NDArray[Any]:
        import numpy as np

        return np.ascontiguousarray(triangle(self.arrays["whitening"], self.head.directions).T)

    @cached_property
    def _table(self) -> NDArray[Any]:
        return p_value_table(self.head.rarity_places)

    def __repr__(self) -> str:
        return f"Profile({len(self.features)} features of {self.head.examples:,} examples)"


def _nonsense(head: Head) -> str:
    """What is wrong with the numbers of a head, "" when nothing is."""
    sketch, answered = head.sketch, head.answered
    if head.format != FORMAT:
        return f"it has format {head.format}, and this version reads format {FORMAT}"
    sizes = (head.examples, head.held_out, sketch.width, sketch.kept, sketch.features, answered.width)
    if min(sizes) < 0 or max(sizes) > _MOST_SIZE or not 1 < head.knots <= 99 or head.held_out < 2:
        return "its sizes make no sense"
    if sketch.kept > sketch.width or sketch.bandwidth <= 0 or sketch.scale <= 0 or head.calibrated.temperature <= 0:
        return "its embedding makes no sense"
    names = [read.name for read in head.inputs]
    if len(set(names)) != len(names) or not names:
        return "its inputs have no names, or the same ones"
    for read in head.inputs:
        columns = read.columns
        if len(read.categories) != len(columns) or bool(columns) != (read.sort == "table") or min((*columns, 0)) < 0:
            return f"the columns of {read.shown!r} make no sense"
    if not all(0 <= number < answered.width for number in answered.frequent):
        return "its classes make no sense"
    return ""
