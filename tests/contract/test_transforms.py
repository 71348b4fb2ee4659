"""Every technique passes the suites; a new file in the package is tested unasked."""

import numpy as np
import pytest

from deploykit.converters._contract import CONVERTERS
from deploykit.converters._route import route
from deploykit.data.dataset import Dataset
from deploykit.testing import models, work
from deploykit.testing.transforms import TechniqueConformance, VariantConformance
from deploykit.transforms._contract import TRANSFORMS

#: Compiling a file takes a minute: tests/proof/test_torch.py does it.
COMPILED = {"compile_graph"}
VARIANTS = [
    (name, variant.name)
    for name in TRANSFORMS.names()
    for variant in TRANSFORMS.get(name).variants
    if not (TRANSFORMS.get(name).from_file or TRANSFORMS.get(name).keyed)  # these have suites of their own
    and name not in COMPILED
]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("transforms")


@pytest.fixture(scope="session")
def source_of(folder):
    """One small CNN with a residual block in the format that is asked for."""

    def get(format_name):
        way = route("keras", frozenset({format_name}), CONVERTERS)
        if way is None:  # nothing is converted to it
            return models.build(f"channels_last_{format_name}", folder)
        path = work.made("residual_cnn", folder)
        for converter in way:
            target = folder / converter.produces
            if not target.exists():
                work.converted(converter.name, path, target)
            path = target
        return path

    return get


@pytest.fixture(scope="session")
def data(folder):
    rng = np.random.default_rng(0)
    images = rng.random((120, 8, 8, 1)).astype(np.float32)
    Dataset.from_arrays(images, rng.integers(0, 3, 120), calibration_size=20).save(folder / "data")
    return folder / "data"


class TestTechniques(TechniqueConformance):
    @pytest.fixture(params=TRANSFORMS.names())
    def name(self, request):
        return request.param


@pytest.mark.long
class TestVariants(VariantConformance):
    @pytest.fixture(params=VARIANTS, ids="-".join)
    def case(self, request):
        return request.param

    @pytest.fixture
    def name(self, case):
        return case[0]

    @pytest.fixture
    def variant(self, case):
        return case[1]

    @pytest.fixture
    def source(self, case, source_of):
        return source_of(min(TRANSFORMS.get(case[0]).variant(case[1]).accepts))
