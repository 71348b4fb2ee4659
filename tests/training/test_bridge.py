import pytest

from deploykit.core.errors import UnsupportedModelError
from deploykit.testing import work
from deploykit.testing.architectures import ARCHITECTURES

UNSUPPORTED = {
    "custom_layer": ("twice", "Doubling"),
    "rms_normalization": ("scaled", "RMSNormalization"),
    "text": ("words", "TextVectorization"),
}


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(set(ARCHITECTURES) - set(UNSUPPORTED) - {"mixed_precision"}))
def test_the_copy_computes_the_same_and_weights_come_back(name):
    found = work.run("bridge:there_and_back", "tf_keras", name=name)
    assert found["before"] < 1e-5
    assert found["moved"] > 1e-3, "other weights in the copy must show, or the check proves nothing"
    assert found["after"] < 1e-5


def test_a_model_of_mixed_precision_is_copied_in_float32():
    found = work.run("bridge:there_and_back", "tf_keras", name="mixed_precision")
    assert 0 < found["before"] < 0.01
    assert found["moved"] > 0.05
    assert found["after"] < 0.01


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_a_layer_without_counterpart_is_named_with_its_class(name):
    layer, kind = UNSUPPORTED[name]
    with pytest.raises(UnsupportedModelError) as caught:
        work.run("bridge:there_and_back", "tf_keras", name=name)
    assert repr(layer) in caught.value.message
    assert kind in caught.value.message
    assert caught.value.remedy


def test_a_setting_without_counterpart_is_named():
    with pytest.raises(UnsupportedModelError, match="rms_scaling=True") as caught:
        work.run("bridge:refuse_setting", "tf_keras")
    assert "'scaled'" in caught.value.message


def test_a_subclassed_model_is_refused():
    with pytest.raises(UnsupportedModelError, match="functional"):
        work.run("bridge:refuse_subclass", "tf_keras")


def test_a_copy_that_differs_fails_the_candidate():
    found = work.run("bridge:notice_difference", "tf_keras")
    assert "differs by" in found["message"]
    assert found["hidden"] < 1e-6, "softmax hides this difference: it is seen before the activation"


def test_frozen_layers_and_training_switches_stay():
    found = work.run("bridge:keep_switches", "tf_keras")
    assert found == {"trainable": False, "dropout_runs": True, "augmentation_runs": False}
