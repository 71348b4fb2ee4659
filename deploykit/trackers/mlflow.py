"""MLflow: a run for the sweep, a run below it for each candidate, and the best one as a registered model.

Runs are found again by their tags, so that logging twice adds nothing twice. Credentials are MLflow's own business.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deploykit.core.errors import StoreError
from deploykit.core.extras import require
from deploykit.core.parameter import Parameter, Value
from deploykit.trackers._contract import Experiment, Logged, Tracker, Trial

#: Tags of a run: the sweep, the candidate ("" for the sweep's own run), and the digest of all that was logged of it.
_SWEEP, _CANDIDATE, _DIGEST = "deploykit.sweep", "deploykit.candidate", "deploykit.digest"
#: Most parameters that MLflow takes at once, and most runs that it gives at once.
_MOST_PARAMETERS, _PAGE = 100, 1000
#: Longest values of parameters and tags.
_LONGEST = 5000


class MLflow(Tracker):
    """Speaks to a tracking server or a database, as MLflow's client does."""

    name = "mlflow"
    label = "MLflow"
    help = "A run for the sweep, one below it for each candidate, and the best one as a registered model with an alias."
    extra = "mlflow"
    requires = ("mlflow", "sqlalchemy", "alembic")
    layout = "mlflow"
    parameters = (
        Parameter("experiment", "text", "", "Name of the experiment; empty: the model's name."),
        Parameter("registered", "text", "", "Name of the registered model; empty: the model's name."),
        Parameter("alias", "text", "best", "Alias that the best candidate's version gets; empty: none."),
        Parameter("register", "bool", True, "Register the best candidate, as the layout mlflow exports it."),
    )

    def log(self, experiment: Experiment, place: str, settings: Mapping[str, Value]) -> Logged:
        """Write runs that are not there yet, and a version of the model; see `Tracker.log`."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it reports to a server otherwise
        mlflow = require("mlflow", "mlflow")
        try:
            with _impatient():
                return _Log(mlflow.MlflowClient(tracking_uri=place or None), experiment).write(settings)
        except (mlflow.exceptions.MlflowException, OSError) as error:
            reason = " ".join(str(error).split())[:300].rstrip(".")
            raise StoreError(
                f"MLflow{f' at {place}' if place else ''} cannot be written: {reason}.",
                remedy="check the address, and that its server is running.",
            ) from error


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """Have MLflow try a server that does not answer three times; by itself it does so for minutes."""
    name = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
    if name in os.environ:
        yield
        return
    os.environ[name] = "2"
    try:
        yield
    finally:
        os.environ.pop(name, None)


class _Log:
    """Writes one sweep."""

    def __init__(self, client: Any, experiment: Experiment) -> None:
        self._client = client
        self._given = experiment

    def write(self, settings: Mapping[str, Value]) -> Logged:
        given, sweep = self._given, self._given.sweep
        name = str(settings["experiment"] or given.model)
        found = self._client.get_experiment_by_name(name)
        self._home = found.experiment_id if found else self._client.create_experiment(name)
        known = self._runs()
        parent, new = self._run(known.get(""), "", sweep, {})
        written = int(new)
        of_parent = {"mlflow.parentRunId": parent}
        runs = {}
        for trial in given.trials:
            runs[trial.key], new = self._run(known.get(trial.key), trial.key, trial, of_parent)
            written += new
        model = ""
        if settings["register"] and given.best:
            model = self._register(str(settings["registered"] or given.model), str(settings["alias"]), runs[given.best])
        place = f"experiment {name!r} at {self._client.tracking_uri}"
        return Logged("mlflow", place, written, 1 + len(runs) - written, model)

    def _runs(self) -> dict[str, Any]:
        """The sweep's runs that are there, by candidate."""
        found: dict[str, Any] = {}
        token = None
        while True:
            page = self._client.search_runs(
                [self._home], f"tags.`{_SWEEP}` = '{self._given.sweep.key}'", max_results=_PAGE, page_token=token
            )
            for run in page:
                found.setdefault(run.data.tags.get(_CANDIDATE, ""), run)
            if not (token := page.token):
                return found

    def _run(self, known: Any, candidate: str, trial: Trial, tags: Mapping[str, str]) -> tuple[str, bool]:
        """The id of a candidate's run, and whether anything had to be written."""
        from mlflow.entities import Metric, Param, RunTag

        if known is not None and known.data.tags.get(_DIGEST) == trial.digest:
            return known.info.run_id, False
        run = known or self._client.create_run(
            self._home, tags={_SWEEP: self._given.sweep.key, _CANDIDATE: candidate, **tags}, run_name=trial.name
        )
        run_id = run.info.run_id
        # At the run's own time: what a log that was broken off has written is written over, not added to.
        metrics = [Metric(name, value, run.info.start_time, 0) for name, value in trial.metrics.items()]
        parameters = [Param(name, str(value)[:_LONGEST]) for name, value in trial.parameters.items()]
        for start in range(0, len(parameters), _MOST_PARAMETERS):
            self._client.log_batch(run_id, params=parameters[start : start + _MOST_PARAMETERS])
        said = [RunTag(f"deploykit.{name}", value[:_LONGEST]) for name, value in trial.tags.items() if value]
        self._client.log_batch(run_id, metrics=metrics, tags=said)
        self._client.set_terminated(run_id, "FAILED" if trial.failed else "FINISHED")
        self._client.set_tag(run_id, _DIGEST, trial.digest)  # last: without it, the next log writes the run again
        return run_id, True

    def _register(self, name: str, alias: str, run_id: str) -> str:
        """A version of the registered model for the best candidate, once; with the alias."""
        given = self._given
        if not self._client.search_registered_models(f"name = '{name}'"):
            self._client.create_registered_model(name, description=f"The best candidates of {given.sweep.name}.")
        versions = self._client.search_model_versions(f"name = '{name}'")
        version = next((v for v in versions if v.tags.get(_DIGEST) == given.best_digest), None)
        if version is None:
            with tempfile.TemporaryDirectory() as scratch:
                given.export(Path(scratch) / "model")
                self._client.log_artifacts(run_id, str(Path(scratch) / "model"), "model")
            source = f"{self._client.get_run(run_id).info.artifact_uri}/model"
            tags = {_SWEEP: given.sweep.key, _CANDIDATE: given.best, _DIGEST: given.best_digest}
            version = self._client.create_model_version(name, source, run_id=run_id, tags=tags)
        if alias:
            self._client.set_registered_model_alias(name, alias, version.version)
        return f"models:/{name}{f'@{alias}' if alias else f'/{version.version}'}"


ADAPTER = MLflow()
