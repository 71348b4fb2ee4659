"""Frames of videos: which ones are taken, that they are what was written, and that a video is never in two splits."""

import argparse
import struct

import av
import numpy as np
import pytest

import deploykit as dk
from deploykit.cli._shared import inputs
from deploykit.core.errors import DatasetError, MissingExtraError, SettingError
from deploykit.data.kinds import reader_of
from deploykit.data.splitting import evaluated_only
from deploykit.training.schedule import Schedule

_SIZE = (24, 32)


def _color(video, frame):
    """A color by video and frame: gray in steps of 8, and the frame in the difference of red and blue."""
    return np.array([8 * video, 100, 5 * frame])


def _write(path, colors, rate=10, codec="ffv1", pixels="bgr0", size=_SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate)
        stream.height, stream.width = size
        stream.pix_fmt = pixels
        for color in colors:
            picture = np.broadcast_to(np.asarray(color, np.uint8), (*size, 3))
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        file.mux(stream.encode())
    return path


def _folder(path, videos=30, frames=25):
    """Videos of two classes: even ones and odd ones."""
    for i in range(videos):
        _write(path / ("even", "odd")[i % 2] / f"{i:02}.mkv", [_color(i, k) for k in range(frames)])
    return path


def _found(data):
    """Split → set of (video, frame), read from the colors; and each label."""
    found, labels = {}, {}
    for name, split in data.splits.items():
        x = split.inputs["input"]
        x = x.reshape(len(x), x.shape[1] * x.shape[2], 3)
        assert (x == x[:, :1]).all()
        pairs = [(int(red) // 8, int(blue) // 5) for red, _, blue in x[:, 0].tolist()]
        assert [_color(*pair).tolist() for pair in pairs] == x[:, 0].tolist()
        found[name] = pairs
        if split.labels is not None:
            labels |= dict(zip([video for video, _ in pairs], split.labels.tolist(), strict=True))
    return found, labels


def _apart(found):
    sets = [{video for video, _ in pairs} for pairs in found.values()]
    return all(not (one & other) for i, one in enumerate(sets) for other in sets[i + 1 :]) and all(sets)


def test_frames_are_what_was_written_and_a_video_is_in_one_split(tmp_path):
    assert reader_of(_folder(tmp_path)) == "from_video"
    data = dk.Dataset.from_video(tmp_path)
    found, labels = _found(data)
    taken = sorted(pair for pairs in found.values() for pair in pairs)
    assert taken == [(i, k) for i in range(30) for k in (0, 10, 20)]
    assert labels == {i: i % 2 for i in range(30)}
    assert data.classes == ("even", "odd")
    assert {name: len(pairs) for name, pairs in found.items()} == {"train": 36, "evaluation": 33, "test": 21}
    assert _apart(found)
    assert _apart(_found(dk.Dataset.from_video(tmp_path, seed=5))[0])
    assert _found(dk.Dataset.from_video(tmp_path, seed=5))[0] != found
    assert "90 frames of 30 videos, 1 per second of video; all frames of a video are in the same split." in (
        data.reading.notes
    )


@pytest.mark.parametrize(
    ("per_second", "frames"), [(1, (0, 10, 20)), (3, (0, 4, 7, 10, 14, 17, 20, 24)), (0.1, (0,)), (50, range(25))]
)
def test_the_rate_of_frames(tmp_path, per_second, frames):
    for i in range(30):
        _write(tmp_path / f"{i}.mkv", [_color(i, k) for k in range(25)])
    data = dk.Dataset.from_video(tmp_path, per_second=per_second)
    found, labels = _found(data)
    assert sorted(pair for pairs in found.values() for pair in pairs) == [(i, k) for i in range(30) for k in frames]
    assert labels == {}
    slow = "30 of 30 videos have fewer frames per second; each was taken once."
    assert (slow in data.reading.notes) == (per_second == 50)


def test_usual_codecs_give_the_colors_within_their_loss(tmp_path):
    kinds = [("mp4", "libx264", "yuv420p"), ("mp4", "mpeg4", "yuv420p"), ("webm", "libvpx", "yuv420p"),
             ("avi", "mjpeg", "yuvj420p")]  # fmt: skip
    for i in range(24):
        ending, codec, pixels = kinds[i % 4]
        _write(tmp_path / f"{i}.{ending}", [_color(i, 5 * k) for k in range(12)], codec=codec, pixels=pixels)
    data = dk.Dataset.from_video(tmp_path, per_second=5)
    x = np.concatenate([split.inputs["input"] for split in data.splits.values()]).astype(int)
    wanted = np.array([_color(i, 5 * k) for i in range(24) for k in range(0, 12, 2)])
    assert len(x) == len(wanted)
    mean = x.mean(axis=(1, 2))
    assert np.abs(mean[:, None] - wanted[None]).max(axis=-1).min(axis=1).max() < 8
    assert np.abs(mean[:, None] - wanted[None]).max(axis=-1).min(axis=0).max() < 8


def test_sizes_and_given_parts(tmp_path):
    for part, count, start in (("train", 12, 0), ("test", 16, 12)):
        for i in range(start, start + count):
            size = (48, 64) if i % 8 == 3 else _SIZE
            _write(tmp_path / part / "ab"[i % 2] / f"{i}.mkv", [_color(i, k) for k in range(15)], size=size)
    data = dk.Dataset.from_video(tmp_path)
    assert data.sample(1).shape == (1, *_SIZE, 3)
    assert data.reading.given_apart
    found, labels = _found(data)
    assert {video for video, _ in found["train"]} == set(range(12))
    assert _apart(found)
    assert labels == {i: i % 2 for i in range(28)}
    assert any("were scaled to 24 x 32" in note for note in data.reading.notes)
    assert dk.Dataset.from_video(tmp_path, size=(10, 12)).sample(1).shape == (1, 10, 12, 3)


def test_a_table_lists_videos_with_labels(tmp_path):
    _folder(tmp_path / "all", 16, 25)
    rows = [f"{('even', 'odd')[i % 2]}/{i:02}.mkv,{'ab'[i // 8]}" for i in range(16)]
    path = tmp_path / "list.csv"
    path.write_text("\n".join(["clip,kind", *rows, "gone.mkv,a"]))
    parser = argparse.ArgumentParser()
    inputs.add_data(parser)
    options = ["--data", str(path), "--file", "clip", "--label", "kind", "--per-second", "2", "--resize", "12,16"]
    data = inputs.data(parser.parse_args(options))
    assert data.sample(1).shape == (1, 12, 16, 3)
    found, labels = _found(data)
    assert sum(map(len, found.values())) == 16 * 5
    assert labels == {i: i // 8 for i in range(16)}
    assert data.reading.left_out == ("1 files that are listed and not there: gone.mkv",)
    assert dk.Dataset.from_video(path, file="clip", label="").splits["train"].labels is None
    (tmp_path / "d.csv").write_text("a,label\n1,2\n")
    with pytest.raises(argparse.ArgumentTypeError, match="--per-second applies to videos"):
        inputs.data(parser.parse_args(["--data", str(tmp_path / "d.csv"), "--per-second", "2"]))


def test_broken_videos_are_named_and_left_out(tmp_path):
    _folder(tmp_path, 16)
    whole = (tmp_path / "even" / "00.mkv").read_bytes()
    (tmp_path / "even" / "cut.mkv").write_bytes(whole[:300])
    (tmp_path / "even" / "empty.mp4").write_bytes(b"")
    (tmp_path / "odd" / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    with av.open(str(tmp_path / "odd" / "sound.mkv"), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    data = dk.Dataset.from_video(tmp_path)
    assert sum(map(len, _found(data)[0].values())) == 48
    assert data.reading.left_out == (
        "3 videos that cannot be decoded: cut.mkv, empty.mp4, noise.mp4", "1 videos without a picture: sound.mkv",
    )  # fmt: skip


def test_a_list_of_files_that_is_called_a_video_is_not_followed(tmp_path):
    inside = _write(tmp_path / "secret" / "a.mkv", [_color(1, k) for k in range(12)])
    folder = tmp_path / "videos"
    folder.mkdir()
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\nfile:{inside}\n#EXT-X-ENDLIST\n"
    for name in ("a.mp4", "b.mkv", "c.avi"):
        (folder / name).write_text(playlist)
    with pytest.raises(DatasetError, match=r"No video of .* can be read \(3 videos that cannot be decoded"):
        dk.Dataset.from_video(folder)


def test_what_cannot_be_read_is_one_error(tmp_path, monkeypatch):
    with pytest.raises(DatasetError, match="holds no videos"):
        dk.Dataset.from_video(tmp_path)
    _write(tmp_path / "a.mkv", [_color(1, k) for k in range(200)])
    _write(tmp_path / "b.mkv", [_color(2, k) for k in range(200)])
    with pytest.raises(DatasetError, match="holds 2 videos that can be read, at least 3 are needed"):
        dk.Dataset.from_video(tmp_path, per_second=10)
    with pytest.raises(SettingError, match="Expected per_second above 0, got 0"):
        dk.Dataset.from_video(tmp_path, per_second=0)
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'deploykit\[video\]'"):
        dk.Dataset.from_video(tmp_path)


def test_videos_that_say_how_they_were_held_are_turned(tmp_path):
    """The matrix in the header of an MP4 file turns by 90 degrees clockwise, as telephones write it."""
    for i in range(30):
        path = tmp_path / f"{i}.mp4"
        with av.open(str(path), "w") as file:
            stream = file.add_stream("libx264", rate=10)
            stream.height, stream.width, stream.pix_fmt = 32, 64, "yuv420p"
            picture = np.zeros((32, 64, 3), np.uint8)
            picture[:, :32] = 250  # left is white
            for _ in range(11):
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            file.mux(stream.encode())
        content = bytearray(path.read_bytes())
        at = content.index(b"tkhd") + 4 + 40
        one = 1 << 16
        assert struct.unpack(">9i", content[at : at + 36]) == (one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
        content[at : at + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 32 * one, 0, 1 << 30)
        path.write_bytes(content)
    data = dk.Dataset.from_video(tmp_path)
    frame = data.sample(1)[0]
    assert frame.shape == (64, 32, 3)
    assert frame[:24].min() > 200  # what was left is up
    assert frame[40:].max() < 60
    assert "30 of 30 videos were rotated as they say." in data.reading.notes


def test_videos_stay_whole_wherever_examples_move(tmp_path):
    _folder(tmp_path, 30)
    data = dk.Dataset.from_video(tmp_path, per_second=5, calibration_size=20)
    assert _apart(_found(data)[0])
    moved = data.without_training()
    found, _ = _found(moved)
    assert 20 <= len(found["train"]) < len(data.splits["train"])
    assert sum(map(len, found.values())) == len(data)
    assert _apart(found)
    evaluated, _ = _found(evaluated_only(data))
    assert not evaluated.pop("train")
    assert _apart(evaluated)
    data.save(tmp_path / "saved")
    again = dk.Dataset.open(tmp_path / "saved")
    assert again.digest == data.digest
    assert _found(again.without_training())[0] == found
    schedule = Schedule.of(again, examples=0, batch_size=8, epochs=1, learning_rate=0.1, seed=0, held_out=0.25)
    groups = again.splits["train"].groups
    assert set(groups[schedule.examples].tolist()).isdisjoint(groups[schedule.held_out].tolist())
