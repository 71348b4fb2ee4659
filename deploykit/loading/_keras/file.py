"""What Keras' two kinds of files have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.loading._contract import Format, Summary, held
from deploykit.loading._keras.kinds import KINDS
from deploykit.loading._nodes import GraphNode, Values
from deploykit.runtimes._session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray


class KerasFile(Format):
    """A file whose config lists layers; Keras loads it by its first suffix."""

    requires = ("h5py",)
    full_group = "tensorflow"
    kinds = KINDS

    def read_fully(self, path: Path, *, trusted: bool, imports: tuple[str, ...]) -> Summary:
        """Let Keras load the model."""
        from deploykit.loading._keras.open import read_model

        return read_model(path, suffix=self.suffixes[0], imports=imports, trusted=trusted)

    def _open_given(self, path: Path, *, imports: tuple[str, ...], trusted: bool) -> Session:
        from deploykit.loading._keras.session import open_given

        return open_given(path, suffix=self.suffixes[0], imports=imports, trusted=trusted)

    @abstractmethod
    def _config(self, path: Path) -> Any:
        """The config of a file."""

    def nodes(self, path: Path) -> list[GraphNode]:
        """The layers; those of the summary where the config does not list them."""
        from deploykit.loading._keras import config as _keras_config
        from deploykit.loading._keras import nodes as _keras_nodes

        graph = _keras_config.parse_model(self._config(path), str(path))
        if graph is None:
            return super().nodes(path)
        return _keras_nodes.nodes(graph, held(self.weights(path)), self.kind_of)

    def values(self, path: Path, session: Session, feeds: Mapping[str, NDArray[Any]]) -> Values:
        """What the outer model's layers compute, by Keras."""
        from deploykit.loading._keras import nodes as _keras_nodes

        return _keras_nodes.values(session, feeds)
