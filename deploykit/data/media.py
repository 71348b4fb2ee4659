"""Datasets of images with masks, of recordings, and of videos."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from deploykit.data.labels import class_names
from deploykit.data.making import Made
from deploykit.data.reading import OnRead


class Media(Made):
    """Constructors of `deploykit.Dataset` for masks, recordings and videos."""

    @classmethod
    def from_masks(
        cls,
        images: str | Path,
        masks: str | Path | None = None,
        *,
        size: tuple[int, int] | None = None,
        colors: Mapping[Any, int] | None = None,
        ignore: int | None = 255,
        progress: OnRead | None = None,
        **options: Any,
    ) -> Self:
        """Images with masks for segmentation: a class for every pixel.

        An image and its mask have the same name apart from the ending, and the same place below their folders. The
        values of gray and palette masks are class numbers; masks in colors need ``colors``. Masks of 0 and 255 alone
        are black and white: 255 is class 1. `reading` names and counts images without a mask, masks without an image,
        and what was scaled.

        Args:
            images: Folder of the images; without ``masks`` one that holds the folders ``images`` and ``masks``.
            masks: Folder of the masks, in a format that keeps every pixel (PNG).
            size: (height, width) of all images and masks; None: the most frequent size. With it, a mask may have
                another size than its image. Masks are scaled to the nearest pixel.
            colors: Color (``"#ff0000"`` or three numbers) → class number; ``ignore`` for pixels without a label.
            ignore: Value of pixels without a label, which metrics skip; None: every value is a class.
            progress: Called while it is read with what is done, of how much (0: not known), and the unit.
            **options: As in `Dataset.from_arrays`; ``classes`` names the classes by number.

        Raises:
            DatasetError: No image has a mask, a mask has another size than its image, a color is unknown, or a value is
                not a class.

        Example:
            >>> import numpy as np
            >>> from pathlib import Path
            >>> from PIL import Image
            >>> for part in ("images", "masks"):
            ...     Path("road", part).mkdir(parents=True, exist_ok=True)
            >>> for i in range(50):
            ...     pixels = np.zeros((8, 8), np.uint8)
            ...     pixels[i % 8 :] = 1
            ...     Image.fromarray(pixels * 200).save(f"road/images/{i}.png")
            ...     Image.fromarray(pixels).save(f"road/masks/{i}.png")
            >>> given = dk.Dataset.from_masks("road", classes=["sky", "road"])
            >>> given.labels().shape
            (18, 8, 8)
        """
        from deploykit.data import sources

        found = sources.read_masks(
            Path(images), None if masks is None else Path(masks), size=size,
            classes=class_names(options.get("classes", ())), colors=colors, ignore=ignore, progress=progress,
        )  # fmt: skip
        return cls._found(found, options)

    @classmethod
    def from_audio(
        cls,
        path: str | Path,
        *,
        rate: int | None = None,
        seconds: float | None = None,
        file: str | None = None,
        label: str | None = None,
        text: str | None = None,
        progress: OnRead | None = None,
        **options: Any,
    ) -> Self:
        """Recordings (WAV, FLAC, Ogg, Opus, MP3) of one length: float32 from −1 to 1, shape (examples, samples).

        Labels are classes or texts: what is said. Texts are compared by word error rate; a model that returns scores of
        tokens needs its vocabulary as ``classes``, unless it lies in the model's folder (``vocab.json``).

        Channels are mixed to their mean, other rates are resampled with a polyphase filter, and shorter recordings get
        zeros at their end. Longer ones lose their end, or are left out if they have texts. `reading` says how many, and
        names and counts what was left out: recordings that are missing or silent, or whose text is empty. Needs
        ``deploykit[audio]``.

        Args:
            path: A folder with one folder of recordings per class; a folder with a ``.txt`` file beside each recording,
                or with ``.trans.txt`` files as LibriSpeech has them; or a table (``.csv``, ``.tsv``, ``.jsonl``) that
                lists recordings, relative to it or to a folder beside it.
            rate: Samples per second; None: the rate that most files have.
            seconds: Length of every recording; None: the length that most have, or the longest of those with texts.
            file: Column of the recordings in a table; None: one called file, path, audio or alike.
            label: Column of the classes; None: one called label, class, target or category; "" for no labels.
            text: Column of what is said; None: one called sentence, text, transcript or alike.
            progress: Called while it is read with what is done, of how much (0: not known), and the unit.
            **options: As in `Dataset.from_arrays`; ``classes`` gives the order of the classes, or the tokens that texts
                are spelled with.

        Raises:
            DatasetError: No recording is found, one cannot be read (with its name), all are silent, a column is missing
                or several could be the labels.
            MissingExtraError: The package soundfile is not installed.

        Example:
            >>> import numpy as np
            >>> from pathlib import Path
            >>> import soundfile
            >>> for name, pitch in [("high", 880), ("low", 220)]:
            ...     Path("tones", name).mkdir(parents=True, exist_ok=True)
            ...     for i in range(30):
            ...         wave = np.sin(2 * np.pi * (pitch + i) * np.arange(400) / 8000)
            ...         soundfile.write(f"tones/{name}/{i}.wav", wave, 8000)
            >>> given = dk.Dataset.from_audio("tones")
            >>> given.classes, given.sample(2).shape
            (('high', 'low'), (2, 400))
        """
        from deploykit.data import sources

        names = class_names(options.get("classes", ()))
        columns = sources.Columns(file, label, text)
        found = sources.read_audio(Path(path), rate, seconds, names, progress, columns)
        return cls._found(found, options)

    @classmethod
    def from_video(
        cls,
        path: str | Path,
        *,
        per_second: float = 1.0,
        size: tuple[int, int] | None = None,
        file: str | None = None,
        label: str | None = None,
        progress: OnRead | None = None,
        **options: Any,
    ) -> Self:
        """Frames of videos as images: uint8, RGB, all of one size.

        Each video gives its first frame, and one more each time ``1 / per_second`` seconds of it have passed. All
        frames of a video are in the same split, since neighboring frames are nearly the same. Rotated videos are turned
        upright. `reading` says how many frames were taken, and names and counts videos that cannot be decoded. Needs
        ``deploykit[video]``.

        Args:
            path: A folder with one folder of videos per class, in subfolders ``train`` and ``test`` if there are such;
                a folder of videos without labels; or a table (``.csv``, ``.tsv``, ``.jsonl``) that lists videos,
                relative to it or to a folder beside it.
            per_second: Frames for each second of video. A video with fewer gives each of its frames once.
            size: (height, width) for videos of different sizes; None: the most frequent size.
            file: Column of the videos in a table; None: one called file, path, filename or alike.
            label: Column of the classes; None: one called label, class, target or category; "" for no labels.
            progress: Called while it is read with what is done, of how much (0: not known), and the unit.
            **options: As in `Dataset.from_arrays`; ``classes`` gives the order of the classes.

        Raises:
            DatasetError: No video is found or can be decoded, there are too few for the splits, or a column is missing.
            MissingExtraError: The package av is not installed.

        Example:
            >>> import av
            >>> import numpy as np
            >>> from pathlib import Path
            >>> Path("clips").mkdir(exist_ok=True)
            >>> for i in range(30):
            ...     with av.open(f"clips/{i}.mp4", "w") as file:
            ...         stream = file.add_stream("mpeg4", rate=10)
            ...         stream.width, stream.height = 32, 24
            ...         for gray in range(20):
            ...             frame = np.full((24, 32, 3), 8 * i + gray // 10, np.uint8)
            ...             file.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
            ...         file.mux(stream.encode())
            >>> given = dk.Dataset.from_video("clips")
            >>> len(given), given.sample(1).shape
            (60, (1, 24, 32, 3))
        """
        from deploykit.data import sources

        names, columns = class_names(options.get("classes", ())), sources.Columns(file, label)
        found = sources.read_video(Path(path), per_second, size, names, progress, columns)
        return cls._found(found, options)
