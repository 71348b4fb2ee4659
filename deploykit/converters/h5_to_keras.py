"""Legacy HDF5 to Keras 3."""

from __future__ import annotations

from deploykit.converters import _keras
from deploykit.converters._contract import Converter, Job
from deploykit.core.errors import ModelFileError, UnsafeModelError


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

    def _convert(self, job: Job) -> None:
        try:
            model = _keras.load(job, suffix=".h5")
        except UnsafeModelError:
            raise
        except ModelFileError as error:
            error.remedy = (
                "Keras 3 does not read every file Keras 2 wrote: load it with the tf-keras package and export a "
                "SavedModel, or load the weights alone into the model's code."
            )
            raise
        _keras.save(model, job.target)


ADAPTER = H5ToKeras()
