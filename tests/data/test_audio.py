"""Recordings by class, and tables that list them."""

import numpy as np
import pytest
import soundfile

import deploykit as dk
from deploykit.core.errors import DatasetError
from deploykit.data.kinds import reader_of

_RATE = 8000


def _tone(pitch, seconds=0.1, rate=_RATE):
    return (0.5 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def _folder(path, count=30):
    for name, pitch in (("high", 880), ("low", 220)):
        (path / name).mkdir(parents=True)
        for i in range(count):
            soundfile.write(path / name / f"{i:02}.wav", _tone(pitch + i), _RATE, subtype="FLOAT")
    return path


def _pitch(wave, rate=_RATE):
    return np.abs(np.fft.rfft(wave, 1 << 16)).argmax() * rate / (1 << 16)


def _together(data):
    x = np.concatenate([s.inputs["input"] for s in data.splits.values()])
    return x, np.concatenate([data.labels(name) for name in data.splits])


def test_a_folder_gives_the_samples_of_its_files(tmp_path):
    _folder(tmp_path)
    x, y = _together(dk.Dataset.from_audio(tmp_path))
    assert x.shape == (60, 800)
    assert x.dtype == np.float32
    expected = {_tone(pitch + i).tobytes(): label for label, pitch in ((0, 880), (1, 220)) for i in range(30)}
    assert {wave.tobytes(): label for wave, label in zip(x, y.tolist(), strict=True)} == expected


def test_rates_channels_and_lengths_are_made_one_and_said(tmp_path):
    _folder(tmp_path)
    soundfile.write(tmp_path / "high" / "00.flac", _tone(1500, rate=16_000), 16_000)
    stereo = np.stack([_tone(220, 0.05), np.zeros(400, np.float32)], axis=1)
    soundfile.write(tmp_path / "low" / "x.wav", stereo, _RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "low" / "y.wav", _tone(220, 0.3), _RATE)
    data = dk.Dataset.from_audio(tmp_path)
    notes = "\n".join(data.reading.notes)
    assert "1 of 63 were resampled from 16,000 to 8,000 Hz" in notes
    assert "1 of 63 had several channels" in notes
    assert "1 of 63 were shorter" in notes
    assert "1 of 63 were longer" in notes
    x, _ = _together(data)
    mixed = [wave for wave in x if not wave[400:].any()]
    np.testing.assert_allclose(mixed[0][:400], _tone(220, 0.05) / 2, atol=1e-6)
    assert abs(max(_pitch(wave) for wave in x) - 1500) < 2  # resampled, and not played slower
    assert _together(dk.Dataset.from_audio(tmp_path, rate=4000, seconds=0.02))[0].shape == (63, 80)


def test_a_table_lists_recordings_and_what_is_missing_is_named(tmp_path):
    _folder(tmp_path)
    lines = [f"{name}/{i:02}.wav,{name}" for name in ("high", "low") for i in range(30)]
    (tmp_path / "list.csv").write_text("\n".join(["file,label", *lines, "gone.wav,low"]))
    assert reader_of(tmp_path / "list.csv") == "from_audio"
    data = dk.Dataset.from_audio(tmp_path / "list.csv")
    assert data.classes == ("high", "low")
    assert data.reading.left_out == ("1 files that are listed and not there: gone.wav",)
    (tmp_path / "list.csv").write_text("name,kind\na,b\n")
    with pytest.raises(DatasetError, match="has the columns name, kind, expected file and label"):
        dk.Dataset.from_audio(tmp_path / "list.csv")


def test_silence_is_named_and_left_out(tmp_path):
    _folder(tmp_path)
    soundfile.write(tmp_path / "low" / "quiet.wav", np.zeros(800), _RATE)
    data = dk.Dataset.from_audio(tmp_path)
    assert len(data) == 60
    assert data.reading.left_out == ("1 silent recordings: quiet.wav",)


@pytest.mark.parametrize(("content", "words"), [(b"", "it is empty"), (b"RIFF no sound", "RIFF|[Ff]ormat|[Uu]nknown")])
def test_files_that_cannot_be_read_are_named(content, words, tmp_path):
    _folder(tmp_path, 2)
    (tmp_path / "low" / "odd.wav").write_bytes(content)
    with pytest.raises(DatasetError, match=rf"odd\.wav is not a readable recording: .*({words})"):
        dk.Dataset.from_audio(tmp_path)


def test_all_silent_and_folders_without_recordings_are_errors(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(DatasetError, match="holds no recordings"):
        dk.Dataset.from_audio(tmp_path)
    soundfile.write(tmp_path / "a" / "b.wav", np.zeros(80), _RATE)
    with pytest.raises(DatasetError, match=r"All 1 recordings of .* are silent"):
        dk.Dataset.from_audio(tmp_path)


def test_what_lies_at_a_path_decides_who_reads_it(tmp_path):
    assert reader_of(_folder(tmp_path / "sounds", 1)) == "from_audio"
    for part in ("images", "masks"):
        (tmp_path / "road" / part).mkdir(parents=True)
    assert reader_of(tmp_path / "road") == "from_masks"
    assert reader_of(tmp_path / "road" / "images") == "from_image_folder"
    np.save(tmp_path / "x.npy", np.zeros(1))
    assert reader_of(tmp_path) == "from_npz"
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    assert [reader_of(tmp_path / name) for name in ("table.csv", "d.json", "d.npz")] == [
        "from_csv", "from_coco", "from_npz",
    ]  # fmt: skip
