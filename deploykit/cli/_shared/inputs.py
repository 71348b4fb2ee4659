"""Arguments that several verbs share: the model, the data, the space, the goal."""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import deploykit as dk
from deploykit.cli._shared.once import Pairs
from deploykit.cli._shared.options import add_options, given
from deploykit.core.settings.options import BuildOptions, SeedOptions, SignatureOptions
from deploykit.core.settings.synthesis import BETWEEN, METHODS, PARAMETERS
from deploykit.data.kinds import reader_of
from deploykit.data.preprocess import CHANNEL_ORDERS, LAYOUTS
from deploykit.data.resize import FITS, Fit
from deploykit.reporting.progress import Lines, TerminalBar

if TYPE_CHECKING:
    from deploykit.core.model import Model
    from deploykit.core.space import Space
    from deploykit.data.dataset import Dataset

#: Which flags belong to which kinds of data: constructors of `Dataset`, and the files in words.
_TABLES = ("from_csv", "from_text", "from_parquet", "from_huggingface")
_NPZ, _COCO = (("from_npz",), ".npz files"), (("from_coco",), ".json files")
_MASKS, _AUDIO = (("from_masks",), "images with masks"), (("from_audio",), "recordings")
_ONLY = {
    "masks": _MASKS, "colors": _MASKS, "ignore": _MASKS, "rate": _AUDIO, "seconds": _AUDIO,
    "x_key": _NPZ, "y_key": _NPZ, "images": _COCO, "fit": _COCO, "test_data": _COCO, "test_images": _COCO,
    "file": (("from_audio", "from_video"), "recordings and videos"), "per_second": (("from_video",), "videos"),
    "label": ((*_TABLES, "from_audio", "from_video"), ".csv files and other tables"),
    "text": ((*_TABLES, "from_audio"), ".csv files and other tables"),
    "drop": (("from_csv", "from_parquet", "from_huggingface"), ".csv and Parquet files"),
}  # fmt: skip
#: Constructors that say how far they are.
_SAYING = ("from_csv", "from_image_folder", "from_masks", "from_audio", "from_video")
#: Reading that takes longer than this says how far it is, so often.
_SAY_S = 5.0
#: Flags that are settings of `Preprocess`.
_PREPROCESS = ("scale", "offset", "reshape", "resize", "layout", "transpose", "mean", "std", "channels", "raw")


def add_model(parser: argparse.ArgumentParser) -> None:
    """``MODEL``, ``--imports``, and other ends than the graph has."""
    parser.add_argument("model", metavar="MODEL", help="model file, or SavedModel folder")
    add_imports(parser)
    for side in ("inputs", "outputs"):
        parser.add_argument(
            f"--graph-{side}",
            metavar="NAME[,…]",
            type=_words,
            default=(),
            help=f"tensors that are the {side}, of frozen graphs (default: guessed) and Caffe networks (blobs)",
        )


def add_imports(parser: argparse.ArgumentParser) -> None:
    """``--imports``."""
    parser.add_argument(
        "--imports",
        metavar="MODULE",
        action="append",
        default=[],
        help="Python module that defines custom layers; the current folder is searched as well (repeatable)",
    )


def model(options: argparse.Namespace) -> Model:
    """The model that was named."""
    if options.imports:
        sys.path.insert(0, str(Path.cwd()))
    timeout, memory = (getattr(options, name, None) for name in ("timeout", "memory"))
    return dk.load(
        options.model, imports=options.imports, inputs=options.graph_inputs, outputs=options.graph_outputs,
        timeout=timeout, memory=memory,
    )  # fmt: skip


def add_data(parser: argparse.ArgumentParser, *, required: bool = True, synthesis: bool = False) -> None:
    """``--data``, how it is read, and what the model's signature means; ``--synthesize`` for verbs that build."""
    _add_meaning(parser)
    group = parser.add_argument_group("data", "--seed also decides how examples are split.")
    group.add_argument(
        "--data",
        metavar="DATA",
        required=required,
        help=".npz with x and y, x_train y_train x_test y_test, an array per input, a folder of such .npy files; .csv, "
        ".jsonl, .parquet or text, a row per example; a folder per class of images, recordings, videos or texts; "
        "recordings with texts beside them; a table that lists recordings or videos; folders images and masks; a "
        "folder of Hugging Face datasets; or a .json with boxes in COCO's form",
    )
    group.add_argument("--images", metavar="FOLDER", help="images of the .json (default: the folder it is in)")
    group.add_argument(
        "--fit", choices=FITS, help="how images of another size than --resize are fitted (default: letterbox)"
    )
    group.add_argument("--masks", metavar="FOLDER", help="a mask for each image of the folder DATA")
    group.add_argument(
        "--colors", metavar="#RRGGBB=N,…", type=_colors, help="class number that each color of the masks stands for"
    )
    group.add_argument("--ignore", metavar="N", type=int, help="value of pixels without a label (default: 255)")
    group.add_argument("--file", metavar="COLUMN", help="column of a table that names recordings or videos")
    group.add_argument("--per-second", metavar="X", type=_number, help="frames for each second of a video (default: 1)")
    group.add_argument("--rate", metavar="HZ", type=int, help="samples per second of recordings (default: most files')")
    group.add_argument("--seconds", metavar="X", type=_number, help="length of recordings (default: most files')")
    group.add_argument("--test-data", metavar="FILE", help="another .json, of held-out images")
    group.add_argument("--test-images", metavar="FOLDER", help="their images (default: the folder of the others)")
    group.add_argument(
        "--x-key", metavar="NAME[,…]", help="array in the .npz that holds the examples, or one per input"
    )
    group.add_argument("--y-key", metavar="NAME", help="array in the .npz that holds the labels; '' if there are none")
    group.add_argument("--label", metavar="COLUMN", help="column of a table that holds the labels")
    group.add_argument(
        "--text", metavar="COLUMN[,…]", type=_words, help="column of a table that holds text, or two of pairs of texts"
    )
    group.add_argument(
        "--tokenizer", metavar="PATH", help="tokenizer.json, or its folder, if it is not in the model's own"
    )
    group.add_argument("--max-length", metavar="N", type=int, help="with --tokenizer: most tokens of a text")
    group.add_argument("--drop", metavar="A,B,…", type=_words, help="columns of a .csv or Parquet file to ignore")
    group.add_argument(
        "--classes", metavar="A,B,…", type=_words, default=(), help="class names, in order of class number"
    )
    group.add_argument("--reshape", metavar="H,W,C", type=_whole, help="shape of one example as the model takes it")
    group.add_argument("--resize", metavar="H,W", type=_whole, help="resize images to this height and width")
    group.add_argument(
        "--scale", metavar="X", type=_number, default=1.0, help="multiply by this factor, for example 1/255"
    )
    group.add_argument("--offset", metavar="X", type=_number, default=0.0, help="add this after scaling")
    group.add_argument("--mean", metavar="X[,…]", type=_numbers, help="then subtract: one number, or one per channel")
    group.add_argument("--std", metavar="X[,…]", type=_numbers, help="then divide by: one number, or one per channel")
    group.add_argument(
        "--layout", choices=LAYOUTS, help="channel order the model takes, if the images come in the other one"
    )
    group.add_argument(
        "--transpose", metavar="2,0,1", type=_whole, help="order in which the model takes the axes of one example"
    )
    group.add_argument("--channels", choices=CHANNEL_ORDERS, help="swap RGB and BGR")
    group.add_argument(
        "--raw", action="store_true", help="the data are already the model's quantized integers, or bytes"
    )
    add_options(group, SeedOptions)
    if synthesis:
        group.add_argument(
            "--synthesize",
            metavar="METHOD",
            choices=METHODS,
            help="make calibration and training inputs from the model by batchnorm, generator or auto, see "
            "dk.synthesize; DATA only evaluates",
        )
        for parameter in PARAMETERS[1:]:
            group.add_argument(
                f"--synthesized-{parameter.name}",
                metavar="N",
                type=int,
                help=f"with --synthesize: {parameter.help[0].lower()}{parameter.help[1:].rstrip('.')} "
                f"(default: {parameter.default})",
            )
        group.add_argument(
            "--synthesized-between",
            metavar="LOW,HIGH",
            type=_numbers,
            help=f"with --synthesize: {BETWEEN[0].lower()}{BETWEEN[1:].rstrip('.')}",
        )


def _add_meaning(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("meaning", "Whatever you leave out is inferred; deploykit plan shows the result.")
    add_options(group, SignatureOptions)


def _colors(text: str) -> dict[str, int]:
    try:
        return {color: int(number) for color, number in (pair.split("=") for pair in text.split(","))}
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected #RRGGBB=NUMBER,…, got {text!r}.") from None


class _Reading:
    """Says on stderr how far long reading is."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, done: int, total: int, unit: str) -> None:
        if time.monotonic() - self._said < _SAY_S:
            return
        self._said = time.monotonic()
        of = f" of {total:,}" if total else ""
        print(f"reading: {done:,}{of} {unit}", file=sys.stderr, flush=True)


def data(options: argparse.Namespace) -> Dataset:
    """The data that were named."""
    path = Path(options.data)
    reader = "from_masks" if options.masks is not None else reader_of(path, options.file)
    for flag, (readers, files) in _ONLY.items():
        if getattr(options, flag) is not None and reader not in readers:
            raise argparse.ArgumentTypeError(f"--{flag.replace('_', '-')} applies to {files}, not to {path}.")
    if reader == "from_csv" and options.text is not None:
        reader = "from_text"
    preprocess = dk.Preprocess(**{name: getattr(options, name) for name in _PREPROCESS}, tokenizer=_tokenizer(options))
    common: dict[str, Any] = {"preprocess": preprocess, "seed": options.seed or 0}
    if options.classes:
        common["classes"] = options.classes
    if reader == "from_coco":
        fit: Fit = options.fit or FITS[0]
        if preprocess.resize is not None:  # clients' images are fitted as these are
            common["preprocess"] = replace(preprocess, fit=fit)
        return dk.Dataset.from_coco(
            path, options.images, size=preprocess.resize, fit=fit, test=options.test_data,
            test_images=options.test_images, **common,
        )  # fmt: skip
    if reader in _TABLES:
        common["label"] = options.label
    if reader in _TABLES and reader != "from_csv":
        common["text"] = options.text
    if reader in _ONLY["drop"][0]:
        common["drop"] = options.drop or ()
    if reader == "from_masks":
        common |= {n: v for n in ("masks", "colors", "ignore") if (v := getattr(options, n)) is not None}
    if reader == "from_audio":
        if options.text is not None and len(options.text) != 1:
            raise argparse.ArgumentTypeError(f"--text names one column of texts for recordings, got {options.text}.")
        text = None if options.text is None else options.text[0]
        common |= {"rate": options.rate, "seconds": options.seconds, "file": options.file, "label": options.label}
        common["text"] = text
    if reader == "from_video":
        given = {"per_second": options.per_second, "file": options.file, "label": options.label}
        common |= {name: value for name, value in given.items() if value is not None}
    if reader in ("from_image_folder", "from_huggingface", "from_masks", "from_video"):
        common["size"] = preprocess.resize
    if reader == "from_npz":
        common |= {"x_key": options.x_key, "y_key": options.y_key}
    if reader in _SAYING:
        common["progress"] = _Reading()
    found: Dataset = getattr(dk.Dataset, reader)(path, **common)
    return found


def _tokenizer(options: argparse.Namespace) -> dk.Tokenizer | None:
    """The tokenizer that was named."""
    if options.tokenizer is None:
        if options.max_length is not None:
            raise argparse.ArgumentTypeError("--max-length applies only with --tokenizer.")
        return None
    return dk.Tokenizer.open(options.tokenizer, max_length=options.max_length)


def model_and_data(options: argparse.Namespace) -> tuple[Model, Dataset]:
    """The model and the data that were named; with ``--synthesize``, calibration and training inputs are made."""
    flags = {p.name: getattr(options, f"synthesized_{p.name}") for p in PARAMETERS[1:]}
    flags["between"] = options.synthesized_between
    flags = {name: value for name, value in flags.items() if value is not None}
    if flags and options.synthesize is None:
        raise argparse.ArgumentTypeError(f"--synthesized-{next(iter(flags))} applies only with --synthesize.")
    found, examples = model(options), data(options)
    if options.synthesize is None:
        return found, examples
    shown = TerminalBar(sys.stderr) if sys.stderr.isatty() else Lines(sys.stderr)
    settings = {**flags, **given(options, BuildOptions)}
    return found, dk.synthesize(found, examples, method=options.synthesize, progress=shown, **settings)


def add_space(parser: argparse.ArgumentParser) -> None:
    """``--space``."""
    parser.add_argument(
        "--space",
        metavar="NAME|FILE",
        default="quick",
        help="what to try: quick, balanced, thorough or smallest, or a .json or .yaml file (default: quick)",
    )
    parser.add_argument(
        "--lengths",
        metavar="N[,…]",
        type=_lengths,
        default=(),
        help="sizes of free dimensions (tokens, pixels of a side) at which latency is measured as well",
    )


def _lengths(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"expected whole numbers from 1 on, separated by commas, got {text!r}")
    return tuple(map(int, parts))


def space(options: argparse.Namespace) -> Space:
    """The space that was named: a file where there is one, else a preset."""
    found = dk.Space.of(options.space)
    return replace(found, lengths=options.lengths) if options.lengths else found


def add_candidates(parser: argparse.ArgumentParser) -> None:
    """``--candidate``."""
    parser.add_argument(
        "--candidate",
        metavar="FILE",
        action="append",
        default=[],
        help="optimized model file that exists already, made with any tool, to judge beside the others (repeatable)",
    )


def add_goal(parser: argparse.ArgumentParser) -> None:
    """``--max-drop`` and ``--minimize``."""
    parser.add_argument(
        "--max-drop",
        metavar="X",
        type=_number,
        help="largest drop allowed: absolute for accuracies, relative for errors (default: the sweep's or 0.01)",
    )
    parser.add_argument(
        "--minimize",
        metavar="COST",
        help="latency, size, compressed_size, memory, cpu, load, energy or cost (default: latency, or size if latency "
        "was not measured)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """``--device``."""
    parser.add_argument(
        "--device",
        metavar="NAME",
        help="choose among the candidates of this device (default: the original model's): devices are never compared",
    )


def add_price(parser: argparse.ArgumentParser) -> None:
    """``--price-per-hour``."""
    parser.add_argument(
        "--price-per-hour",
        metavar="X",
        type=_number,
        help="what an hour of the machine costs, in any currency: shows the cost of a million predictions",
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _whole(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers such as 28,28,1") from None


def _numbers(text: str) -> float | tuple[float, ...]:
    values = tuple(_number(part) for part in text.split(","))
    return values if len(values) > 1 else values[0]


def _number(text: str) -> float:
    above, slash, below = text.partition("/")
    try:
        value = float(above) / float(below) if slash else float(above)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number such as 0.5 or 1/255")
    return value


def named(text: str) -> tuple[str, str]:
    """A ``name=value`` argument."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def add_key(parser: argparse.ArgumentParser) -> None:
    """The key to an encrypted artifact, and that which must have signed it."""
    parser.add_argument(
        "--key", metavar="PLACE",
        help="where the key to an encrypted artifact is: env:NAME, file:PATH, keyring:NAME or cmd:PROGRAM ARGUMENTS",
    )  # fmt: skip
    parser.add_argument(
        "--require-signature", metavar="FILE",
        help="refuse what is not signed by the private key of this public one (PEM), or has changed since",
    )  # fmt: skip


def add_settings(parser: argparse.ArgumentParser, owner: str) -> None:
    """Declare ``--set``, which sets parameters of something."""
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        type=setting,
        action=Pairs,
        default={},
        help=f"parameter of the {owner} (repeatable)",
    )


def setting(text: str) -> tuple[str, str | float | bool]:
    """A ``name=value`` argument whose value may be a number, or true or false."""
    name, value = named(text)
    if value in {"true", "false"}:
        return name, value == "true"
    try:
        return name, int(value) if value.lstrip("-").isdigit() else float(value)
    except ValueError:
        return name, value
