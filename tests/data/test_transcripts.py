"""Recordings with what is said in them: texts beside the files, LibriSpeech's files, and tables."""

import json

import jiwer
import numpy as np
import onnx
import pytest
import soundfile
from onnx import TensorProto, helper, numpy_helper

import deploykit as dk
from deploykit.core.errors import DatasetError
from deploykit.data.kinds import reader_of

_RATE = 8000
#: A tone for each letter; the blank is silent.
_TOKENS = ["<pad>", "|", "a", "b", "c"]
_STEP = 80
_TEXTS = [" ".join("abc"[(i + j) % 3] * (1 + (i * j) % 2) for j in range(1 + i % 3)) for i in range(30)]


def _wave(i, steps=10):
    return (0.3 * np.sin(2 * np.pi * (200 + 10 * i) * np.arange(steps * _STEP) / _RATE)).astype(np.float32)


def _together(data):
    x = np.concatenate([s.inputs["input"] for s in data.splits.values()])
    return x, np.concatenate([s.labels for s in data.splits.values()]).tolist()


def _expected(count=30):
    return {_wave(i).tobytes(): text for i, text in enumerate(_TEXTS[:count])}


def _read(data):
    x, y = _together(data)
    return {wave.tobytes(): text for wave, text in zip(x, y, strict=True)}


def _recordings(folder, ending="wav", count=30):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        soundfile.write(folder / f"r{i:02}.{ending}", _wave(i), _RATE, subtype="FLOAT" if ending == "wav" else None)
    return folder


def test_texts_beside_recordings(tmp_path):
    _recordings(tmp_path)
    for i, text in enumerate(_TEXTS):
        (tmp_path / f"r{i:02}.txt").write_text(f"{text}\n")
    soundfile.write(tmp_path / "alone.wav", _wave(0), _RATE)
    soundfile.write(tmp_path / "blank.wav", _wave(0), _RATE)
    (tmp_path / "blank.txt").write_text(" \n")
    assert reader_of(tmp_path) == "from_audio"
    data = dk.Dataset.from_audio(tmp_path)
    assert _read(data) == _expected()
    assert data.classes == ()
    assert data.reading.left_out == (
        "1 recordings without a text: alone.wav", "1 recordings whose text is empty: blank.wav",
    )  # fmt: skip
    assert data.reading.labels == "a .txt file beside each recording: texts"


def test_few_texts_beside_recordings_by_class_change_nothing(tmp_path):
    for name in ("one", "two"):
        _recordings(tmp_path / name, count=15)
    (tmp_path / "one" / "r00.txt").write_text("a note")
    assert dk.Dataset.from_audio(tmp_path).classes == ("one", "two")


def test_librispeech(tmp_path):
    for speaker in range(3):
        folder = tmp_path / f"{speaker}" / "7"
        folder.mkdir(parents=True)
        lines = []
        for i in range(10 * speaker, 10 * speaker + 10):
            name = f"{speaker}-7-{i:04}"
            soundfile.write(folder / f"{name}.flac", _wave(i), _RATE, subtype="PCM_24")
            lines.append(f"{name} {_TEXTS[i].upper()}")
        (folder / f"{speaker}-7.trans.txt").write_text("\n".join([*lines, f"{speaker}-7-9999 GONE"]) + "\n")
    assert reader_of(tmp_path) == "from_audio"
    data = dk.Dataset.from_audio(tmp_path, classes=["<pad>", "|", "A", "B", "C"])
    x, y = _together(data)
    assert x.shape == (30, 800)
    wanted = dict(enumerate(text.upper() for text in _TEXTS))
    waves = np.stack([_wave(i) for i in range(30)])
    nearest = np.abs(x[:, None] - waves[None]).max(axis=-1)
    assert nearest.min(axis=1).max() < 2**-22
    assert [wanted[i] for i in nearest.argmin(axis=1).tolist()] == y
    assert data.reading.left_out == (
        "3 recordings that are listed and not there: 0-7-9999, 1-7-9999, 2-7-9999",
    )  # fmt: skip
    with pytest.raises(DatasetError, match=r"characters that no token has: 'A', 'B', 'C'.*small letters"):
        dk.Dataset.from_audio(tmp_path, classes=_TOKENS)


def _tsv(path, quote="", gone=False):
    rows = [f"7\tr{i:02}.mp3\t{quote}{text}\t2" for i, text in enumerate(_TEXTS)]
    rows += ["8\tgone.mp3\tnothing\t2"] if gone else []
    path.write_text("\n".join(["client_id\tpath\tsentence\tup_votes", *rows]) + "\n", encoding="utf-8")


def test_common_voice(tmp_path):
    _recordings(tmp_path / "clips", "mp3")
    _tsv(tmp_path / "validated.tsv", quote='"', gone=True)
    assert reader_of(tmp_path / "validated.tsv") == "from_audio"
    data = dk.Dataset.from_audio(tmp_path / "validated.tsv")
    x, y = _together(data)
    assert sorted(y) == sorted(f'"{text}' for text in _TEXTS)  # an opening quotation mark is one
    by_text = {}
    for i, text in enumerate(_TEXTS):
        decoded, _ = soundfile.read(tmp_path / "clips" / f"r{i:02}.mp3", dtype="float32")
        by_text.setdefault(f'"{text}', []).append(decoded)
    for wave, text in zip(x, y, strict=True):
        assert any(np.array_equal(wave[: len(own)], own) for own in by_text[text])
    assert data.reading.left_out == ("1 files that are listed and not there: gone.mp3",)
    assert "the files that validated.tsv lists are those in the folder clips." in data.reading.notes


def test_columns_are_named_where_they_are_not_evident(tmp_path):
    _recordings(tmp_path)
    rows = [{"audio_filepath": str(tmp_path / f"r{i:02}.wav"), "text": t, "label": "ab"[i % 2], "said": t[::-1]}
            for i, t in enumerate(_TEXTS)]  # fmt: skip
    path = tmp_path / "manifest.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert reader_of(path) == "from_audio"
    with pytest.raises(DatasetError, match="columns 'label' and 'text': either could be the labels"):
        dk.Dataset.from_audio(path)
    assert _read(dk.Dataset.from_audio(path, text="text")) == _expected()
    assert _read(dk.Dataset.from_audio(path, text="said", file="audio_filepath")) == {
        wave: text[::-1] for wave, text in _expected().items()
    }
    assert dk.Dataset.from_audio(path, label="label").classes == ("a", "b")
    assert dk.Dataset.from_audio(path, label="").splits["train"].labels is None
    with pytest.raises(DatasetError, match=r"has no column 'words'.*correct text= \(--text\)"):
        dk.Dataset.from_audio(path, text="words")
    with pytest.raises(DatasetError, match=r"has no column 'sound'.*correct file= \(--file\)"):
        dk.Dataset.from_audio(path, file="sound", text="text")
    with pytest.raises(DatasetError, match="give label= for classes, or text= for what is said"):
        dk.Dataset.from_audio(path, label="label", text="text")
    with pytest.raises(DatasetError, match="is a folder, which has no columns"):
        dk.Dataset.from_audio(tmp_path, text="text")


def test_tables_without_recordings_or_texts_are_one_error(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("path,sentence\na.wav,hello\n")
    with pytest.raises(DatasetError, match=r"None of the 1 files .* lists is there: a\.wav"):
        dk.Dataset.from_audio(path)
    soundfile.write(tmp_path / "a.wav", _wave(0), _RATE)
    path.write_text("path,sentence\na.wav, \n")
    with pytest.raises(DatasetError, match="all 1 texts are empty"):
        dk.Dataset.from_audio(path)
    path.write_text("path,words\na.wav,hello\n")
    with pytest.raises(DatasetError, match="expected one of labels, such as label or sentence or text"):
        dk.Dataset.from_audio(path)
    (tmp_path / "1.trans.txt").write_text("b hello\n")
    with pytest.raises(DatasetError, match=r"holds no recording with a text \(1 recordings that are listed"):
        dk.Dataset.from_audio(tmp_path)


def test_longer_recordings_are_left_out_rather_than_their_words(tmp_path):
    _recordings(tmp_path)
    rows = [f"r{i:02}.wav,{text}" for i, text in enumerate(_TEXTS)]
    soundfile.write(tmp_path / "long.wav", _wave(1, 20), _RATE, subtype="FLOAT")
    path = tmp_path / "list.csv"
    path.write_text("\n".join(["file,text", *rows, "long.wav,a long text"]))
    whole = dk.Dataset.from_audio(path)
    assert _together(whole)[0].shape == (31, 1600)  # the longest, where recordings by class have the usual length
    short = dk.Dataset.from_audio(path, seconds=0.1)
    assert _read(short) == _expected()
    assert short.reading.left_out == (
        "1 recordings longer than 0.1 s, which would lose words of their texts: long.wav",
    )  # fmt: skip
    with pytest.raises(DatasetError, match=r"All 31 recordings .* longer than 0\.05 s.*give seconds=0\.2"):
        dk.Dataset.from_audio(path, seconds=0.05)


def _recognizer(path):
    """A network that hears the tone of each letter: a filter of one step for each token."""
    time = np.arange(_STEP) / _RATE
    filters = np.zeros((len(_TOKENS), 1, _STEP), np.float32)
    for token in range(1, len(_TOKENS)):
        filters[token, 0] = np.sin(2 * np.pi * 500 * token * time)
    bias = np.array([2.0, 0, 0, 0, 0], np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["x", "shape"], ["wide"]),
            helper.make_node("Conv", ["wide", "w", "b"], ["heard"], strides=[_STEP]),
            helper.make_node("Transpose", ["heard"], ["y"], perm=[0, 2, 1]),
        ],
        "recognizer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 10 * _STEP])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10, len(_TOKENS)])],
        [numpy_helper.from_array(filters, "w"), numpy_helper.from_array(bias, "b"),
         numpy_helper.from_array(np.array([-1, 1, 10 * _STEP]), "shape")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def _spoken(text):
    wave = np.zeros(10 * _STEP, np.float32)
    time = np.arange(_STEP) / _RATE
    for place, letter in enumerate(text.replace(" ", "|")):
        wave[2 * place * _STEP : (2 * place + 1) * _STEP] = np.sin(2 * np.pi * 500 * _TOKENS.index(letter) * time)
    return wave


@pytest.mark.long
def test_a_model_of_speech_is_judged_by_its_words_with_the_vocabulary_of_its_folder(tmp_path):
    rng = np.random.default_rng(0)
    spoken = ["".join(rng.choice(list("abc"), 2)) + " " + rng.choice(list("abc")) for _ in range(60)]
    wrong = [text[:-1] + ("a" if text[-1] == "b" else "b") if i % 4 == 0 else text for i, text in enumerate(spoken)]
    sounds, folder = tmp_path / "sounds", tmp_path / "model"
    folder.mkdir()
    sounds.mkdir()
    for i, (text, label) in enumerate(zip(spoken, wrong, strict=True)):
        soundfile.write(sounds / f"{i:02}.wav", _spoken(text), _RATE, subtype="FLOAT")
        (sounds / f"{i:02}.txt").write_text(label)
    _recognizer(folder / "model.onnx")
    (folder / "config.json").write_text(json.dumps({"model_type": "wav2vec2"}))
    model = dk.load(folder)
    data = dk.Dataset.from_audio(sounds)
    with pytest.raises(DatasetError, match="becomes text only with a vocabulary"):
        data.check(model)
    (folder / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(_TOKENS)}))
    space, options = dk.Space(recipes=[dk.Recipe()]), {"launches": 0, "progress": lambda _: None}
    report = dk.sweep(model, data, space, store=tmp_path / "s", **options)
    assert report.metric == "word_error_rate"
    said = {_spoken(text).tobytes(): text for text in spoken}
    held = data.check(model).splits["evaluation"]
    answers = [said[wave.tobytes()] for wave in held.inputs["x"]]
    found = report.row(report.baseline).measurement.score.value
    assert found == pytest.approx(jiwer.wer(held.labels.tolist(), answers), abs=1e-9)
    assert found > 0.05
    (folder / "vocab.json").write_text(json.dumps({name.upper(): i for i, name in enumerate(_TOKENS)}))
    with pytest.raises(DatasetError, match="write the texts in capitals"):
        data.check(dk.load(folder))
