"""The exported folder: a model with everything needed to serve it and to check that it is the one that was measured."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Self

from deploykit.artifacts.adopted import Adopted
from deploykit.artifacts.arrays import load_arrays
from deploykit.artifacts.checking import files_of as files_of
from deploykit.artifacts.checking import is_inside, problems
from deploykit.artifacts.encryption import Encryption, Vault, check_key
from deploykit.artifacts.schema import SCHEMA, today
from deploykit.artifacts.signing import SIGNATURE, PublicKey, check_signature, sign
from deploykit.core.calling import Calling
from deploykit.core.candidate import Recipe, Target
from deploykit.core.check import BaselineCheck
from deploykit.core.contract import Contract
from deploykit.core.errors import ExportError, SettingError
from deploykit.core.files import read_small, replace_whole
from deploykit.core.model import TensorSpec
from deploykit.core.parameter import Value
from deploykit.core.result import Result
from deploykit.core.security.keys import Key, read_key
from deploykit.core.security.memory import MemoryFiles
from deploykit.core.serial import Plain, dump, parse
from deploykit.core.settings.serving import ServingSettings
from deploykit.data.preprocess import Preprocess

if TYPE_CHECKING:
    from numpy.typing import NDArray

MANIFEST = "manifest.json"
#: Most bytes of a manifest, and of a profile.
_MOST_MANIFEST_BYTES = 64 << 20
_MOST_PROFILE_BYTES = 1 << 20


@dataclass(frozen=True)
class Manifest(Plain):
    """Content of ``manifest.json``.

    Attributes:
        name: Name to serve the model by.
        layout: Name of the exporter.
        format: Format of the model file.
        model: Path of the model, relative to the folder.
        target: Runtime, device and threads it was measured on.
        inputs: Raw inputs as clients send them, before preprocessing: names, shapes (batch first, free), dtypes. A
            state is among them, and may be left out; a constant is not.
        outputs: Outputs as clients get them: all of the model's, the state too.
        preprocess: Input name → preprocessing, applied by the server.
        classes: Class names by index.
        recipe: What was done to the model.
        source: Name, format and digest of the original model.
        result: The candidate's row.
        files: Relative path → SHA-256 of every file but the manifest.
        golden_inputs: Relative path of an ``.npz`` of raw inputs.
        golden_outputs: Relative path of an ``.npz`` of the outputs the measured candidate gave for them.
        tolerance: Largest difference from the golden outputs that still counts as the same, relative to their range.
        requirements: pip requirements to run the model.
        version: deploykit's version.
        contract: What inputs and outputs mean.
        check: What was found when the original model was run on some examples.
        batch_dependent: Whether an example's answer depends on the others in its batch: they are run
            ``target.batch_size`` at a time, and requests are not joined.
        input_names: Input → its name in the model file.
        output_names: Output → its name in the model file.
        parameters: The layout's parameters.
        serving: How to serve it, as ``dk.tune`` found; None: it was not tuned.
        license: Of the model: an SPDX expression or a name; "" if it was not said.
        adopted: What is known of a model that deploykit did not export; None: it did.
        editable: Files that say how it is deployed. They may be made or changed later, and left out of an image: what
            is served does not depend on them.
        encryption: What of it is encrypted; None: nothing.
        profile: Relative path of what requests look like as long as all is well (``deploykit.monitoring.profile``); ""
            where nothing is known of that.
        schema: Version of this layout.
    """

    name: str
    layout: str
    format: str
    model: str
    target: Target
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocess: dict[str, Preprocess]
    classes: tuple[str, ...]
    recipe: Recipe
    source: dict[str, str]
    result: Result | None
    files: dict[str, str]
    golden_inputs: str
    golden_outputs: str
    tolerance: float
    requirements: tuple[str, ...]
    version: str
    contract: Contract
    check: BaselineCheck = field(default_factory=BaselineCheck)
    batch_dependent: bool = False
    input_names: dict[str, str] = field(default_factory=dict)
    output_names: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, Value] = field(default_factory=dict)
    serving: ServingSettings | None = None
    license: str = ""
    adopted: Adopted | None = None
    editable: tuple[str, ...] = ()
    encryption: Encryption | None = None
    profile: str = ""
    schema: int = SCHEMA
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def served_target(self) -> Target:
        """What the server runs it on: that on which it was measured, with the threads it was tuned to."""
        threads = self.serving.threads if self.serving else 0
        return replace(self.target, threads=threads) if threads else self.target

    @property
    def model_digest(self) -> str:
        """SHA-256 of the digests of the model's files and of its golden outputs: which model a profile belongs to."""
        own = (self.model, self.golden_outputs)
        known = {n: d for n, d in self.files.items() if n in own or n.startswith(f"{self.model}/")}
        return hashlib.sha256(dump(known)).hexdigest()

    @property
    def calling(self) -> Calling | None:
        """How the file is called if deploykit did not export it."""
        return self.adopted.signatures[self.adopted.chosen].calling if self.adopted else None


@dataclass(frozen=True)
class OpenedArtifact:
    """Files of an artifact as they can be read, as long as `Artifact.opened` is.

    Attributes:
        folder: Where they are.
        manifest: The artifact's manifest.
        key: The key to those that are encrypted.
    """

    folder: Path
    manifest: Manifest
    key: Key | None = field(default=None, repr=False)

    @property
    def model(self) -> Path | MemoryFiles:
        """The model file or folder; in memory alone if it is encrypted."""
        manifest = self.manifest
        if self.key is None or manifest.encryption is None:
            return self.folder / manifest.model
        others = (manifest.golden_inputs, manifest.golden_outputs, manifest.profile)
        return manifest.encryption.model(self.folder, manifest.model, others, self.key)

    def golden(self) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """Golden inputs and the measured model's outputs for them: arrays by name, batch first.

        Raises:
            ExportError: A file cannot be read; names it.
        """
        names, vault = (self.manifest.golden_inputs, self.manifest.golden_outputs), Vault(self.key, self.folder)
        inputs, outputs = (load_arrays(self.folder / n, vault.read(n) if self.key else None) for n in names)
        return inputs, outputs

    def profile(self) -> bytes | None:
        """Content of the reference profile's file, for ``deploykit.monitoring.profile``; None where there is none.

        Raises:
            ExportError: It cannot be read, or is larger than any.
        """
        name = self.manifest.profile
        if not name:
            return None
        content = read_small(self.folder / name, _MOST_PROFILE_BYTES, "the profile", ExportError)
        return content if self.key is None else Vault(self.key, self.folder).read(name)


@dataclass(frozen=True)
class Artifact:
    """An exported folder.

    Attributes:
        path: The folder.
        manifest: Its manifest.
        key: The key that it was exported or opened with, if it is encrypted.
        read: SHA-256 of the manifest's file when it was opened.

    Example:
        >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
        >>> artifact = dk.export(built, "exported/dynamic", overwrite=True)
        >>> artifact.manifest.target.runtime, artifact.model_path.name
        ('onnxruntime', 'model.onnx')
    """

    path: Path
    manifest: Manifest
    key: Key | None = field(default=None, repr=False, compare=False)
    read: str = field(default="", repr=False, compare=False)

    @classmethod
    def of(cls, source: Artifact | str | Path, key: str | Key | None = None) -> Self:
        """An artifact as it is in its folder now: one that is at hand, with its key, or that of a folder."""
        if isinstance(source, Artifact):
            return cls.open(source.path, source.key if key is None else key)
        return cls.open(source, key)

    @classmethod
    def open(cls, path: str | Path, key: str | Key | None = None) -> Self:
        """Read the manifest of an exported folder without checking digests (see ``dk.verify``).

        Args:
            path: The folder.
            key: The place of the key to an encrypted artifact, for example ``"env:DEPLOYKIT_KEY"``. Without it, the
                manifest can be read and the model and its golden data cannot.

        Raises:
            SettingError: There is no key at that place.
            ExportError: There is no artifact, or it is from a newer version or from an older one that cannot be read.

        Example:
            >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
            >>> folder = dk.export(built, "exported/reopened", overwrite=True).path
            >>> dk.Artifact.open(folder).problems()
            []
        """
        folder = Path(path).absolute()
        file = folder / MANIFEST
        if not file.is_file():
            raise ExportError(
                f"{folder} is not an exported artifact: it has no {MANIFEST}.", remedy="make one with deploykit export."
            )
        try:
            content = read_small(file, _MOST_MANIFEST_BYTES, "the manifest", ExportError)
            data = parse(content)
        except (ValueError, RecursionError) as error:
            raise ExportError(f"{file} is not JSON: {error}.", remedy="export again.") from error
        try:
            manifest = Manifest.from_json(today(data, file))
        except SettingError as error:
            raise ExportError(f"{file}: {error.message}", remedy="export again.") from error
        named = (manifest.model, manifest.golden_inputs, manifest.golden_outputs, manifest.profile or manifest.model)
        for name in (*named, *manifest.files):
            if not is_inside(name):
                raise ExportError(f"{file} names {name!r}, which is outside the folder.", remedy="export again.")
        digest = hashlib.sha256(content).hexdigest()
        found = cls(folder, manifest, None if key is None else read_key(key), digest)
        if key is not None:
            check_key(manifest.encryption, found.key, str(folder))
        return found

    def save(self) -> None:
        """Write the manifest."""
        file, content = self.path / MANIFEST, dump(self.manifest, indent=True)
        if file.exists():  # a server may be reading it
            replace_whole(file, content)
        else:
            file.write_bytes(content)

    def sign(self, private_key: str | Path) -> Path:
        """Sign all files of its folder as OpenSSF's model-signing does; gives the file, and replaces one that is there.

        Args:
            private_key: PEM file of a private key, see ``dk.new_key_pair``. ``require_signature=`` of `verify` and
                `serve` takes the public one.

        Raises:
            SettingError: There is no private key on a NIST curve in the file, or others may read it.
            ExportError: The folder holds a link, or cannot be written.
            MissingExtraError: The package ``model-signing`` is not installed.

        Example:
            >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
            >>> private, public = dk.new_key_pair("exported-here")
            >>> artifact = dk.export(built, "exported/signed", overwrite=True)
            >>> signature = artifact.sign(private)
            >>> dk.verify(artifact, require_signature=public).ok
            True
        """
        return sign(self.path, private_key)

    @property
    def signed(self) -> bool:
        """Whether it has a signature, by whatever key."""
        return (self.path / SIGNATURE).is_file()

    def check_signature(self, key: PublicKey) -> None:
        """Raise `ExportError` unless it is signed by a key, and is as it was then."""
        check_signature(self.path, key, (MANIFEST, self.read))

    @contextlib.contextmanager
    def opened(self, key: str | Key | None = None) -> Iterator[OpenedArtifact]:
        """Its files, to be read inside the block: the only way to its model and its golden data.

        Args:
            key: The place of the key to an encrypted artifact; None: the key that it was exported or opened with.

        Raises:
            ExportError: The artifact is encrypted and there is no key or another one; or there is one, and it is not
                encrypted.
            SettingError: There is no key at that place.

        Example:
            >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
            >>> with dk.export(built, "exported/opened", overwrite=True).opened() as files:
            ...     inputs, outputs = files.golden()
            >>> {name: array.shape for name, array in outputs.items()}
            {'class': (8, 10)}
        """
        found = self.key if key is None else read_key(key)
        check_key(self.manifest.encryption, found, str(self.path))
        yield OpenedArtifact(self.path, self.manifest, found)

    @property
    def model_path(self) -> Path:
        """The model file or folder."""
        return self.path / self.manifest.model

    def served_with(self, settings: ServingSettings | None) -> Self:
        """The same artifact with other settings of its server; `save` keeps them.

        Example:
            >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
            >>> artifact = dk.export(built, "exported/settled", overwrite=True)
            >>> settled = artifact.served_with(dk.types.ServingSettings(workers=2))
            >>> settled.save()
            >>> print(dk.Artifact.open(artifact.path).manifest.serving)
            2 workers
        """
        return replace(self, manifest=replace(self.manifest, serving=settings))

    def signature(self, name: str) -> Self:
        """The same artifact with another one of the functions of a model that has several."""
        adopted = self.manifest.adopted
        assert adopted is not None
        found = adopted.signatures[name]
        kept = {f.name: getattr(found, f.name) for f in fields(found) if f.name not in ("calling", "method")}
        return replace(self, manifest=replace(self.manifest, adopted=replace(adopted, chosen=name), **kept))

    @property
    def signatures(self) -> tuple[Self, ...]:
        """It with each of its functions; it alone where the model has but one."""
        adopted = self.manifest.adopted
        return (self,) if adopted is None else tuple(map(self.signature, adopted.signatures))

    @property
    def essential(self) -> Self:
        """It with the digests of what is in the folders of its model and golden data alone.

        A server of others may rewrite files that lie beside these folders, and add some. It alone, where its model has
        no folder of its own: what the model refers to may be any file then.
        """
        manifest = self.manifest
        own = {PurePosixPath(n).parts[0] for n in (manifest.model, manifest.golden_inputs, manifest.golden_outputs)}
        if manifest.model in own:
            return self
        kept = {name: digest for name, digest in manifest.files.items() if PurePosixPath(name).parts[0] in own}
        return replace(self, manifest=replace(manifest, files=kept))

    @property
    def digest(self) -> str:
        """SHA-256 of what its manifest says, which includes the digests of all its other files.

        How it is served is left out: a server that is running when an artifact is tuned still runs the same artifact.
        """
        return hashlib.sha256(dump(self.served_with(None).manifest)).hexdigest()

    @property
    def own_files(self) -> list[str]:
        """Relative paths, with forward slashes, of the files that belong to it, its manifest included; sorted."""
        signature = [SIGNATURE] if self.signed else []
        return sorted({MANIFEST, *signature, *self.manifest.files, *self.manifest.editable})

    @property
    def fixed_files(self) -> dict[str, str]:
        """Relative path → SHA-256 of the files that must be as they were exported."""
        return {name: digest for name, digest in self.manifest.files.items() if name not in self.manifest.editable}

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each of its own files, by relative path."""
        return {name: file.stat().st_size for name in self.own_files if (file := self.path / name).is_file()}

    def problems(self) -> list[str]:
        """Files that are missing, changed or (in the model's folder) new since the export, one sentence each."""
        manifest = self.manifest
        golden = manifest.golden_inputs, manifest.golden_outputs
        return problems(self.path, manifest.model, golden, manifest.files, self.fixed_files)

    def __repr__(self) -> str:
        return f"Artifact({str(self.path)!r}, {self.manifest.layout}, {self.manifest.format}: {self.manifest.recipe})"


def is_artifact(folder: Path) -> bool:
    """Whether a folder is one that was exported."""
    return (folder / MANIFEST).is_file()
