"""Legacy HDF5 to Keras 3."""

from __future__ import annotations

from deploykit.converters import _keras
from deploykit.converters._contract import Converter, Job
from deploykit.core.errors import ModelFileError, UnsafeModelError
from deploykit.loading._contract import FORMATS


class H5ToKeras(Converter):
    """Reads the legacy whole-model file and writes it in Keras 3's own format."""

    name = "h5_to_keras"
    label = "HDF5 to Keras"
    help = "Reads a legacy .h5 model and saves it as .keras."
    extra = "tensorflow"
    requires = ("tensorflow", "keras", "h5py")
    group = "tensorflow"
    accepts = "h5"
    produces = "keras"
    keeps_layers = True

    def _convert(self, job: Job) -> None:
        try:
            model = _keras.load(job, suffix=".h5")
        except UnsafeModelError:
            raise
        except ModelFileError as error:
            error.remedy = (
                "Keras 3 does not read every file that Keras 2 wrote: load it with the tf-keras package and export a "
                "SavedModel, or load the weights alone into the model's code."
            )
            raise
        _keras.save(model, job.target)
        made = _keras.exportable(model)
        known = self._names(job, [list(made.inputs), list(made.outputs)])
        job.named(*(dict(zip(k, m, strict=True)) for k, m in zip(known, (made.inputs, made.outputs), strict=True)))

    def _names(self, job: Job, found: list[list[str]]) -> list[list[str]]:
        """Names of inputs and outputs as the reader of the file gives them: very old files leave some to Keras."""
        summary = FORMATS.get(self.accepts).read(job.source, trusted=job.trusted, imports=job.imports)
        known = [[spec.name for spec in specs] for specs in (summary.inputs, summary.outputs)]
        return known if list(map(len, known)) == list(map(len, found)) else found


ADAPTER = H5ToKeras()
