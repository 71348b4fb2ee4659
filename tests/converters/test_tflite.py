import pytest

from deploykit.converters._tflite import conversion_error, missing_operators
from deploykit.core.errors import UnsupportedModelError
from deploykit.loading._load import load
from deploykit.testing import work

#: What TensorFlow 2.21 writes, shortened in the middle.
FLEX = """Could not translate MLIR to FlatBuffer. model.py:24:1:
error: 'tf.MaxPool3D' op is neither a custom op nor a flex op
<unknown>:0: error: failed while converting: 'main':
Some ops are not supported by the native TFLite runtime, you can enable TF kernels fallback using TF Select. See
instructions: https://www.tensorflow.org/lite/guide/ops_select
TF Select ops: MaxPool3D, Roll
Details:
\ttf.MaxPool3D(tensor<?x3x5x5x3xf32>) -> (tensor<?x1x2x2x3xf32>) : {data_format = "NDHWC"}
Custom ops: MyOp
Details:
\ttf.MyOp(tensor<?xf32>) -> (tensor<?xf32>)
"""


def test_missing_operators_are_read_from_the_message():
    assert missing_operators(" ".join(FLEX.split())) == ["MaxPool3D", "MyOp", "Roll"]
    error = conversion_error(RuntimeError(FLEX))
    assert isinstance(error, UnsupportedModelError)
    assert str(error).startswith("TFLite has no operator for MaxPool3D, MyOp, Roll")


def test_another_message_is_shortened():
    error = conversion_error(RuntimeError("line one\n" + "x" * 5000))
    assert "line one" in error.message
    assert len(error.message) < 600


@pytest.mark.parametrize(("name", "operator"), [("volumes", "MaxPool3D"), ("inverse_error_function", "Erfinv")])
def test_an_operator_without_counterpart_is_named(name, operator, folder, tmp_path):
    with pytest.raises(UnsupportedModelError, match=operator) as caught:
        work.converted("keras_to_tflite", work.made(name, folder), tmp_path / "out")
    assert "ONNX Runtime" in caught.value.remedy
    assert not (tmp_path / "out").exists()


def test_recurrent_layers_get_a_fixed_batch_and_say_so(folder, tmp_path):
    source = work.made("masked_recurrent", folder)
    notes = work.converted("keras_to_tflite", source, tmp_path / "out")
    assert "fixed at 1" in notes["batch"]
    assert load(tmp_path / "out").inputs[0].batch_size == 1
    wanted = work.outputs_of(source)
    found = work.predicted(tmp_path / "out", "tflite", work.examples_of(source))
    for key, value in wanted.items():
        assert abs(found[key] - value).max() < 1e-4


def test_other_models_keep_a_free_batch(folder, tmp_path):
    notes = work.converted("keras_to_tflite", work.made("operators", folder), tmp_path / "out")
    assert set(notes) == {"names"}
    assert load(tmp_path / "out").inputs[0].batch_size is None


def test_a_saved_model_without_signature_is_refused(tmp_path):
    work.run("make_without_signature", "tensorflow", path=str(tmp_path / "bare"))
    for converter in ("saved_model_to_tflite", "saved_model_to_onnx"):
        with pytest.raises(UnsupportedModelError, match="serving_default"):
            work.converted(converter, tmp_path / "bare", tmp_path / "out")
