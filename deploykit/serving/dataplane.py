"""All behavior of the server: what it accepts, how it predicts, what it says of itself. Protocols sit above it.

`DataPlane.batch` checks examples; `DataPlane.infer` preprocesses and runs them. Whatever comes between (queues,
threads, batches put together from several requests) needs to know no more than that.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from deploykit.artifacts.artifact import Artifact
from deploykit.artifacts.predictor import Predictor
from deploykit.artifacts.signature import takes_real
from deploykit.core.calling import Method
from deploykit.core.contract import OutputMeaning
from deploykit.core.errors import DatasetError
from deploykit.core.model import TensorSpec
from deploykit.core.settings.serving import ServingSettings
from deploykit.serving.batches import Batch, independent, join
from deploykit.serving.faults import InvalidInputError, shown
from deploykit.serving.images import Images
from deploykit.serving.profiles import read_profile
from deploykit.serving.tensors import check_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

Read = TypeVar("Read")

#: The function that is called unless another one is asked for, by TensorFlow Serving's name.
DEFAULT_SIGNATURE = "serving_default"

_WARM_RUNS = 5
#: Longest time the event loop may be held up by one batch.
INLINE_SECONDS = 0.005
#: Most examples of several requests that are tried, and run, as one batch, unless the artifact was tuned.
_MOST_JOINED = 32
#: Names of unknown inputs that a message shows.
_SHOWN_NAMES = 8


class DataPlane:
    """One served model. Used by one thread at a time.

    Args:
        artifact: What to serve; opened in this process, so only in one made for it.
        name: Name to serve it by; "": its own.

    Attributes:
        name: Name it is served by.
        signature: Which of the model's functions it is.
        method: What that is for.
        tensors: Names in the file by names of inputs and outputs; empty for models that deploykit exported.
        left_out: Functions of the model that cannot be served, and why not.
        parses: Whether it takes ``tf.Example`` messages as text, and looks for features in them itself.
        inputs: Raw inputs by name; a state among them may be left out, see ``needed``.
        needed: Names of the inputs that every request must have.
        real: Inputs that take real numbers although their dtype is one of whole numbers → dtype of those.
        outputs: Outputs by name.
        meanings: What the outputs mean, by name.
        classes: Class names by index, of the scored output.
        images: Reads encoded images for the inputs that take them.
        platform: Runtime and format, as the v2 protocol names them.
        private: Whether the model is encrypted: what it is asked is then written to no file either.
        example_seconds: Time one example takes at best, measured while warming up.
        most_joined: Most examples of several requests that may run as one batch; 1 when each must run alone.
        profile: What requests look like as long as all is well; None where the artifact has none.
        embedding: What the last layer saw of the batch that was run last; None where the model does not give it.
    """

    def __init__(self, artifact: Artifact, name: str = "") -> None:
        manifest = artifact.manifest
        self.name = name or manifest.name
        adopted = manifest.adopted
        self.signature = adopted.chosen if adopted else DEFAULT_SIGNATURE
        self.method: Method = adopted.signatures[adopted.chosen].method if adopted else "predict"
        self.left_out = adopted.left_out if adopted else {}
        self.tensors = {**manifest.input_names, **manifest.output_names} if adopted else {}
        self.inputs: dict[str, TensorSpec] = {spec.name: spec for spec in manifest.inputs}
        #: What examples are checked against.
        self._specs = self.inputs
        if manifest.calling is not None and manifest.calling.any_shape:
            self._specs = {name: replace(spec, shape=None) for name, spec in self.inputs.items()}
        self.parses = bool(adopted) and [(s.name, s.dtype) for s in manifest.inputs] == [("inputs", "string")]
        self.outputs: dict[str, TensorSpec] = {spec.name: spec for spec in manifest.outputs}
        contract = manifest.contract
        self.needed = contract.asked
        self._usual = frozenset(self.needed)
        self.real = {
            i.name: "float64" if i.dtype == "float64" else "float32"
            for i in contract.inputs
            if i.name in self.inputs and takes_real(i) and not self.inputs[i.name].dtype.startswith("float")
        }
        self.meanings: dict[str, OutputMeaning] = {o.name: o for o in contract.outputs}
        self.private = manifest.encryption is not None
        self.classes = manifest.classes or contract.labels.named
        self.platform = f"{manifest.target.runtime}_{manifest.format}"
        self._settings = manifest.serving or ServingSettings()
        with contextlib.ExitStack() as stack:
            files = stack.enter_context(artifact.opened())
            self.profile = read_profile(files)
            self.embedding: NDArray[Any] | None = None
            self._predictor = Predictor.open(files, "" if self.profile is None else self.profile.head.tap)
            golden, _ = files.golden()
            self.images = Images(manifest, golden)
            self.example_seconds = self._warm_up(golden)
            self._shapes = {name: array.shape[1:] for name, array in golden.items()}
            self._proved = self._examples(golden, 1)[0]
            self.most_joined = 1 if manifest.batch_dependent else self._try_joining(golden)
            weakref.finalize(self, stack.pop_all().close)  # a runtime may read from them as long as it runs

    def _warm_up(self, golden: Mapping[str, NDArray[Any]]) -> float:
        batch = self._examples(golden, 1)[0]
        return _least_seconds(self.infer, [batch])

    def _try_joining(self, golden: Mapping[str, NDArray[Any]]) -> int:
        """Whether joining changes no answer and saves time depends on the model and its runtime: find out."""
        chosen = self._settings.largest_batch
        most = min(chosen or _MOST_JOINED, int(INLINE_SECONDS / self.example_seconds))
        examples = self._examples(golden, most)
        # A session fills up a fixed batch, or cuts up what does not fit it.
        if self._predictor.session.batch_size or len(examples) < 2 or not independent(self.infer, examples):
            return 1
        if chosen:  # whether it saves time was measured with real requests
            return len(examples)
        # Sizes change from batch to batch, and some runtimes allocate again for each size: that counts as well.
        sizes = [size for size in (1, 2, 3, 5, 8, 13, 21, 32) if size <= len(examples)]
        taken = _least_seconds(lambda size: self.infer(join(examples[:size])), sizes)
        return len(examples) if taken < sum(sizes) * self.example_seconds else 1

    def _examples(self, golden: Mapping[str, NDArray[Any]], most: int) -> list[Batch]:
        """So many golden examples, each a batch; where there are fewer, they come again: `independent` changes them."""
        count = min(len(array) for array in golden.values())
        places = [place % count for place in range(most)]
        return [self.batch({name: array[i : i + 1] for name, array in golden.items()}) for i in places]

    async def reading(self, read: Callable[[], Read]) -> Read:
        """Read a request that takes long, apart from the event loop; few at a time, so that memory is bounded."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, read)

    @cached_property
    def _reader(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._settings.readers, thread_name_prefix="deploykit-reading")

    def spec(self, name: Any) -> TensorSpec:
        """The input called ``name``.

        Raises:
            InvalidInputError: There is none; lists those there are.
        """
        try:
            return self._specs[name]
        except (KeyError, TypeError):
            raise InvalidInputError(
                f"Unknown input {shown(name)}; expected {self._names()}.",
                f"JSON object: does not have named input: {shown(name)}",
            ) from None

    def classes_of(self, meaning: OutputMeaning) -> tuple[str, ...]:
        """Class names of an output by index, empty when they are not known."""
        return self.classes if meaning.role == "scored" else ()

    def sole_input(self) -> TensorSpec:
        """The only input that is needed.

        Raises:
            InvalidInputError: There are several, so that they must be named.
        """
        if len(self.needed) != 1:
            raise InvalidInputError(
                f"The model takes {len(self.needed)} inputs; expected an object with {self._names()}.",
                "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
                "tensorinfo_map",
            )
        return self._specs[self.needed[0]]

    def check_names(self, names: Iterable[str]) -> None:
        """Raise `InvalidInputError` unless the model's inputs are named, states or none of them."""
        got = list(names)
        if len(got) != len(set(got)) or not set(self.needed) <= set(got) <= set(self.inputs):
            names = ", ".join(map(shown, got[:_SHOWN_NAMES])) + (", …" if len(got) > _SHOWN_NAMES else "")
            raise InvalidInputError(
                f"Expected the inputs {self._names()}; got {names or 'none'}.",
                f"JSON object: keys must be equal to: {','.join(self.needed)}",
            )

    def batch(self, arrays: Mapping[str, NDArray[Any]]) -> Batch:
        """Check raw examples, dtypes already right.

        Raises:
            InvalidInputError: Names or shapes are wrong, no example is given, or the inputs have different numbers.
        """
        if arrays.keys() != self._usual:
            self.check_names(arrays)
        counts = {}
        for name, array in arrays.items():
            check_shape(array.shape, self._specs[name])
            counts[name] = len(array) if array.ndim else 0
        count = next(iter(counts.values()))
        if any(other != count for other in counts.values()):
            shown = ", ".join(f"{name!r} has {n}" for name, n in counts.items())
            raise InvalidInputError(f"Expected the same number of examples in all inputs; {shown}.")
        if count == 0:
            raise InvalidInputError("Expected at least one example, got none.")
        return Batch({name: arrays[name] for name in self.inputs if name in arrays}, count)

    def infer(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """Preprocess and run a batch: outputs by name.

        Raises:
            InvalidInputError: The examples cannot be preprocessed, or the model cannot hold their values.
        """
        try:
            outputs = self._predictor(batch.arrays)
            self.embedding = self._predictor.embedding
            return outputs
        except DatasetError as error:
            raise InvalidInputError(str(error)) from error
        except Exception as error:
            # Runtimes raise classes of their own for sizes that do not go together and for indices out of range.
            said = self._odd_shapes(batch) or ("these examples" if self._runs_still() else "")
            if not said:
                raise
            reason = " ".join(str(error).split())[:200].rstrip(".")
            raise InvalidInputError(f"The model cannot run {said}: {reason}.") from error

    def _runs_still(self) -> bool:
        """Whether the model runs the example that it was proved with: if so, a fault lies with other examples."""
        try:
            self._predictor(self._proved.arrays)
        except Exception:
            return False
        return True

    def _odd_shapes(self, batch: Batch) -> str:
        """The shapes of examples that are not those it was proved with, "" when all are."""
        found = {name: array.shape[1:] for name, array in batch.arrays.items()}
        odd = {name: shape for name, shape in found.items() if shape != self._shapes.get(name, shape)}
        return "examples of shape " + ", ".join(f"{shape} for {name!r}" for name, shape in odd.items()) if odd else ""

    def _names(self) -> str:
        states = [name for name in self.inputs if name not in self.needed]
        more = f" (and, if you carry it, the state {', '.join(map(repr, states))})" if states else ""
        return ", ".join(map(repr, self.needed)) + more


def _least_seconds(run: Callable[[Any], object], arguments: Sequence[Any]) -> float:
    """Time of one run with each argument in turn; the best of several rounds, as a busy machine only adds to it."""
    least = [math.inf] * len(arguments)
    for _ in range(_WARM_RUNS):
        for place, argument in enumerate(arguments):
            start = time.perf_counter()
            run(argument)
            least[place] = min(least[place], time.perf_counter() - start)
    return sum(least)
