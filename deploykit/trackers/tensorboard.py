"""TensorBoard: scalars and hyperparameters of each candidate, as event files; TensorFlow is not needed.

Source: TensorBoard's event.proto, summary.proto, and api.proto and plugin_data.proto of its HParams plugin.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deploykit.core.errors import SettingError, StoreError
from deploykit.core.files import replace_whole
from deploykit.core.parameter import Value
from deploykit.core.tfrecord import tfrecord
from deploykit.trackers._contract import Experiment, Logged, Tracker, Trial

_PLUGIN = "hparams"
#: Part of the names of files that were written here, before the digest of what they say.
_MARK = "deploykit"


class TensorBoard(Tracker):
    """Each candidate is a run of its own: a folder of its key."""

    name = "tensorboard"
    label = "TensorBoard"
    help = "A folder of event files: hyperparameters and scalars of each candidate, for tensorboard --logdir FOLDER."
    extra = "tensorboard"
    requires = ("tensorboard",)

    def log(self, experiment: Experiment, place: str, settings: Mapping[str, Value]) -> Logged:
        """Write an event file for the sweep and one for each candidate; see `Tracker.log`."""
        if not place or "://" in place:
            raise SettingError(
                f"TensorBoard reads a folder, got {place!r}.",
                remedy="name one: report.log_to('tensorboard', 'runs/board').",
            )
        self.check_installed()
        folder = Path(place).expanduser().absolute() / experiment.sweep.key
        runs = [(folder, experiment.sweep, _of_sweep(experiment))]
        runs += [(folder / trial.key, trial, _of_trial(trial)) for trial in experiment.trials]
        try:
            written = sum(_renewed(home, trial.digest, summaries) for home, trial, summaries in runs)
        except OSError as error:
            raise StoreError(
                f"{folder} cannot be written: {error.strerror or error}.", remedy="choose another folder."
            ) from error
        return Logged(self.name, str(folder), written, len(runs) - written)


def _renewed(folder: Path, digest: str, summaries: Iterator[Any]) -> bool:
    """Write the event file of a run, in the place of an older one; False where it says the same already."""
    from tensorboard.compat.proto.event_pb2 import Event

    mark = f".{_MARK}-{digest[:16]}"
    older = list(folder.glob(f"events.out.tfevents.*.{_MARK}-*"))
    if any(file.name.endswith(mark) for file in older):
        return False
    now = time.time()
    events = [Event(wall_time=now, file_version="brain.Event:2")]
    events += [Event(wall_time=now, step=0, summary=summary) for summary in summaries]
    folder.mkdir(parents=True, exist_ok=True)
    content = tfrecord(event.SerializeToString() for event in events)
    replace_whole(folder / f"events.out.tfevents.{int(now)}{mark}", content)
    for file in older:
        file.unlink()
    return True


def _of_sweep(experiment: Experiment) -> Iterator[Any]:
    """Which hyperparameters and metrics there are."""
    from tensorboard.plugins.hparams import api_pb2
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    values: dict[str, list[Any]] = {}
    for trial in experiment.trials:
        for name, value in trial.parameters.items():
            values.setdefault(name, []).append(value)
    metrics = sorted({name for trial in experiment.trials for name in trial.metrics})
    first = [experiment.metric] if experiment.metric in metrics else []
    described = api_pb2.Experiment(
        name=experiment.sweep.name,
        hparam_infos=[api_pb2.HParamInfo(name=name, type=_type(found)) for name, found in values.items()],
        metric_infos=[
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=name))
            for name in [*first, *(name for name in metrics if name not in first)]
        ],
    )
    yield _plugin("_hparams_/experiment", HParamsPluginData(experiment=described, version=0))


def _of_trial(trial: Trial) -> Iterator[Any]:
    """Its settings, its measurements, and how it ended."""
    from google.protobuf.struct_pb2 import Value as Any_
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo

    start = SessionStartInfo(group_name=trial.key)
    for name, value in trial.parameters.items():
        kind = {bool: "bool_value", str: "string_value"}.get(type(value), "number_value")
        start.hparams[name].CopyFrom(Any_(**{kind: value}))
    yield _plugin("_hparams_/session_start_info", HParamsPluginData(session_start_info=start, version=0))
    for name, number in trial.metrics.items():
        yield Summary(value=[Summary.Value(tag=name, simple_value=number)])
    end = SessionEndInfo(status=api_pb2.STATUS_FAILURE if trial.failed else api_pb2.STATUS_SUCCESS)
    yield _plugin("_hparams_/session_end_info", HParamsPluginData(session_end_info=end, version=0))


def _plugin(tag: str, content: Any) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

    data = SummaryMetadata.PluginData(plugin_name=_PLUGIN, content=content.SerializeToString())
    empty = TensorProto(dtype="DT_FLOAT", tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=0)]))
    return Summary(value=[Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=data), tensor=empty)])


def _type(values: list[Any]) -> Any:
    from tensorboard.plugins.hparams import api_pb2

    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return api_pb2.DATA_TYPE_BOOL
    return api_pb2.DATA_TYPE_FLOAT64 if kinds <= {int, float} else api_pb2.DATA_TYPE_STRING


ADAPTER = TensorBoard()
