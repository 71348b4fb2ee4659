import pytest

from deploykit.core.errors import SettingError
from deploykit.core.settings.serving import ServingSettings


def test_they_round_trip_as_json():
    settings = ServingSettings(workers=2, threads=4, largest_batch=16, readers=3)
    assert settings.to_json() == {"workers": 2, "threads": 4, "largest_batch": 16, "readers": 3}
    assert ServingSettings.from_json(settings.to_json()) == settings
    assert ServingSettings.of(settings) == settings


def test_what_is_not_named_has_its_default():
    assert ServingSettings.of({"threads": 2}) == ServingSettings(workers=1, threads=2, largest_batch=0, readers=1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"workers": 0}, r"serving: workers must be between 1 and 256, got 0"),
        ({"threads": 1.5}, r"serving: threads must be a whole number, got 1\.5"),
        ({"largest_batch": True}, r"serving: largest_batch must be a number, got True"),
        ({"worker": 2}, r"Unknown parameter for serving 'worker'"),
    ],
)
def test_other_names_and_values_are_refused(given, message):
    with pytest.raises(SettingError, match=message):
        ServingSettings.of(given)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (ServingSettings(), "1 worker"),
        (ServingSettings(2, 1, 16), "2 workers, 1 thread, batches up to 16"),
        (ServingSettings(largest_batch=1, readers=2), "1 worker, each request alone, 2 readers"),
    ],
)
def test_they_say_what_they_are(settings, text):
    assert str(settings) == text
