"""What a worker sees of requests and answers, looked at in a thread of its own and told to the parent.

The way of an answer only puts references into a queue. If they come faster than they may be looked at, the rest is
left out and counted: looking takes a small, fixed share of the worker's time whatever the rate.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DeploykitError
from deploykit.monitoring.gathering import Gatherer
from deploykit.monitoring.labels import answers_of
from deploykit.monitoring.profile import Observed
from deploykit.serving.batches import join

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.serving.batches import Batch, Outputs
    from deploykit.serving.dataplane import DataPlane

    #: A batch, its outputs, its embedding, and for whose requests it is: tokens and numbers of examples.
    _Seen = tuple[Batch, Outputs, NDArray[Any] | None, tuple[tuple[str, int], ...]]

_log = logging.getLogger("deploykit.serving")
#: Time between looks.
EVERY_SECONDS = 0.1
#: Most examples, and bytes, of a version that wait to be looked at; most answers that wait to be sent.
_MOST_EXAMPLES, _MOST_BYTES, _MOST_ANSWERS = 1024, 16 << 20, 1024
#: Examples that are looked at together, and how long one waits for others.
_TOGETHER, _PATIENCE_SECONDS = 64, 1.0
#: A worker that computes for less than this share of the time has time to spare: looking may take so many times more.
_BUSY, _SPARE = 0.5, 8.0
#: Tokens whose requests are also looked at apart, and how many of these are one piece of evidence.
_MOST_TOKENS, TOKEN_BLOCK = 64, 32
#: Unused time is saved up to so much.
_MOST_SAVED_SECONDS = 0.05


class Tap:
    """Takes what one version of a model answers. Any thread may give.

    Args:
        plane: The model.
        version: Its version.
        examples: Most unusual examples that are given to the parent, to be kept.
    """

    def __init__(self, plane: DataPlane, version: str, examples: int = 0) -> None:
        self.name, self.version = plane.name, version
        self._waiting: deque[_Seen] = deque()
        # Two threads, and each writes its own numbers: what was given to be looked at, and what was taken from there.
        self._given = self._given_bytes = self._taken = self._taken_bytes = 0
        self._since = 0.0
        self._seen = self._seen_told = self._looked = 0
        self._answers: deque[tuple[str, Outputs | None, bool]] = deque(maxlen=_MOST_ANSWERS)
        scored = [meaning for meaning in plane.meanings.values() if meaning.role == "scored"]
        self._scored = scored[0] if scored else None
        self._profile = plane.profile
        self._gatherer = None if self._profile is None else Gatherer(self._profile)
        self._wrong = False
        # What clients send to an encrypted model is nowhere in plain.
        self._wanted = 0 if plane.private else examples
        self._odd: list[dict[str, Any]] = []
        self._by_token: dict[str, Gatherer] = {}
        #: Tokens whose gatherers hold something new.
        self._told: set[str] = set()

    def saw(self, batch: Batch, outputs: Outputs, embedding: NDArray[Any] | None, parts: Sequence[Batch] = ()) -> None:
        """Take a batch that ran.

        Args:
            batch: The batch.
            outputs: Its outputs.
            embedding: What the last layer saw, where the model gives that.
            parts: The requests that it is made of, for whose they are; one that is not said is the batch's own.
        """
        self._seen += batch.count
        if self._gatherer is None:
            return
        if self._given - self._taken < _MOST_EXAMPLES and self._given_bytes - self._taken_bytes < _MOST_BYTES:
            self._given += batch.count
            self._given_bytes += _bytes(batch)
            tokens = tuple([(part.token, part.count) for part in parts or (batch,)])
            self._waiting.append((batch, outputs, embedding, tokens))

    def answered(self, request: str, outputs: Outputs | None, *, copied: bool = False) -> None:
        """Take the answer of a request that has an id, by which its label may come later.

        Args:
            request: The id.
            outputs: The answer; None: it failed.
            copied: Whether it is a shadow's, and another version answered.
        """
        if self._scored is not None:
            self._answers.append((request, outputs, copied))

    def settle(self, block: int) -> None:
        """Use a length of blocks that the parent has decided; see `deploykit.monitoring.bursts`."""
        if self._gatherer is not None:
            self._gatherer.settle(block)

    def tell(self, until: float, now: float, *, all_of_it: bool = False) -> Mapping[str, Any] | None:
        """Look at what waits.

        Args:
            until: CPU time of this thread, by `time.thread_time`, from which on the rest waits.
            now: Seconds of a clock that does not jump.
            all_of_it: Whether few examples are looked at as well, which takes longer for each.

        Returns:
            What there is to say to the parent; None for nothing.
        """
        ready = all_of_it or self._given - self._taken >= _TOGETHER or now - self._since >= _PATIENCE_SECONDS
        answers = [self._answers.popleft() for _ in range(len(self._answers))]
        if not ready and not answers:
            return None
        if ready:
            self._since = now
            self._look(until)
        seen = self._seen - self._seen_told
        self._seen_told += seen
        looked, self._looked = self._looked, 0
        if not seen and not looked and not answers:
            return None
        said: dict[str, Any] = {"name": self.name, "version": self.version, "seen": seen, "looked": looked}
        if looked and self._gatherer is not None:
            said["gathered"] = self._gatherer.take().to_json()
        if self._told:
            said["tokens"] = {token: self._by_token[token].take().to_json() for token in sorted(self._told)}
            self._told.clear()
        if self._odd:
            said["examples"], self._odd = self._odd, []
        if answers:
            said["answers"] = list(self._short(answers))
        return said

    def _look(self, until: float) -> None:
        """Observe what waits, many examples at once: that takes a thirtieth of the time of one by one."""
        assert self._gatherer is None or self._profile is not None
        while self._waiting and self._profile is not None and self._gatherer is not None:
            if time.thread_time() >= until:
                break
            group = [self._waiting.popleft()]
            count = group[0][0].count
            while self._waiting and count < _TOGETHER and self._waiting[0][0].kind == group[0][0].kind:
                group.append(self._waiting.popleft())
                count += group[-1][0].count
            self._taken += count
            self._taken_bytes += sum([_bytes(batch) for batch, *_ in group])
            batch, outputs, embedding, tokens = group[0] if len(group) == 1 else _joined(group)
            try:
                observed = self._profile.observe(batch.arrays, outputs, embedding)
                self._gatherer.add(observed)
                self._looked += batch.count
                self._share_out(observed, tokens)
                self._pick_out(observed, batch)
            except DeploykitError:  # examples of other sizes than the reference's
                if not self._wrong:
                    _log.exception("the monitor cannot look at some requests for %s", self.name)
                self._wrong = True

    def _pick_out(self, observed: Observed, batch: Batch) -> None:
        """Keep examples that are further off than all of the reference, where that is wanted."""
        assert self._profile is not None
        if not self._wanted:
            return
        least = 1.001 / (self._profile.head.held_out + 1)
        for place in (observed.rarity <= least).nonzero()[0][: self._wanted].tolist():
            example = {name: array[place : place + 1].tolist() for name, array in batch.arrays.items()}
            if all(array.dtype.kind in "biuf" for array in batch.arrays.values()):
                self._odd.append(example)
                self._wanted -= 1

    def _share_out(self, observed: Observed, tokens: Sequence[tuple[str, int]]) -> None:
        """Have a gatherer of its own for each token, so that one client's requests are seen apart from the others'."""
        assert self._profile is not None
        start = 0
        for token, count in tokens:
            part, start = slice(start, start + count), start + count
            if not token or (token not in self._by_token and len(self._by_token) >= _MOST_TOKENS):
                continue
            gatherer = self._by_token.get(token)
            if gatherer is None:
                gatherer = self._by_token[token] = Gatherer(self._profile, block=TOKEN_BLOCK)
            sure = observed.confidence
            gatherer.add(Observed(observed.features[part], observed.rarity[part], None if sure is None else sure[part]))
            self._told.add(token)

    def _short(self, answers: list[tuple[str, Outputs | None, bool]]) -> Iterator[list[Any]]:
        """Answers as far as a label can say something of them."""
        assert self._scored is not None
        for request, outputs, copied in answers:
            found = None if outputs is None else answers_of(self._scored, outputs[self._scored.name])
            if found is not None or outputs is None:
                yield [request, found, copied]


def _bytes(batch: Batch) -> int:
    return sum([array.nbytes for array in batch.arrays.values()])


def _joined(group: list[_Seen]) -> _Seen:
    import numpy as np

    batches, found, embeddings, tokens = zip(*group, strict=True)
    outputs = {name: np.concatenate([one[name] for one in found]) for name in found[0]}
    embedding = None if embeddings[0] is None else np.concatenate(embeddings)
    return join(batches), outputs, embedding, tuple(itertools.chain.from_iterable(tokens))


class Taps:
    """All taps of a worker, and the thread that looks.

    Args:
        say: Tells the parent; called in that thread.
        cost: Share of the time that looking may take while the worker is busy.
        examples: Most unusual examples of each version that are given to the parent, to be kept.
    """

    def __init__(self, say: Callable[[Mapping[str, Any]], None], cost: float, examples: int = 0) -> None:
        self._say = say
        self._cost = cost
        self._examples = examples
        self._taps: list[Tap] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="deploykit-looking", daemon=True)
        self._thread.start()

    def tap(self, plane: DataPlane, version: str) -> Tap:
        """A tap for a version."""
        found = Tap(plane, version, self._examples)
        self._taps = [*self._taps, found]
        return found

    def settle(self, name: str, version: str, block: int) -> None:
        """Have the taps of a version use a length of blocks."""
        for tap in self._taps:
            if (tap.name, tap.version) == (name, version):
                tap.settle(block)

    def keep(self, used: set[int]) -> None:
        """Look no more at versions that are gone.

        Args:
            used: Ids of the taps that are still used.
        """
        self._taps = [tap for tap in self._taps if id(tap) in used]

    def close(self) -> None:
        """Tell what is left, and end."""
        self._ending.set()
        self._thread.join()

    def _work(self) -> None:
        saved, before, used = 0.0, time.monotonic(), time.process_time()
        while True:
            ending = self._ending.wait(EVERY_SECONDS)
            now, began = time.monotonic(), time.thread_time()
            busy, used = time.process_time() - used, time.process_time()
            share = self._cost * (1 if busy > _BUSY * (now - before) else _SPARE)
            saved = min(_MOST_SAVED_SECONDS, saved + share * (now - before))
            before = now
            for tap in self._taps:
                try:
                    if (said := tap.tell(began + saved, now, all_of_it=ending)) is not None:
                        self._say(said)
                except Exception:  # whatever it is, requests are answered
                    _log.exception("the monitor cannot look at %s", tap.name)
            saved -= time.thread_time() - began
            if ending:
                return
