"""A run's copy on an MLflow server, by MLflow's own client: `pip install mlflow-skinny==3.17.2`.

It is asked for by MLFLOW_TRACKING_URI. MLFLOW_EXPERIMENT_NAME or _ID (else the project's name) and all
that MLflow's client reads for itself (MLFLOW_TRACKING_TOKEN, MLFLOW_TRACKING_USERNAME, ...) apply.
"""

import importlib.util
import logging
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from core.domain.labels import Category
from core.domain.runs import Epoch, Run
from core.domain.training import DataVersion
from core.domain.version import VERSION
from core.worker.figures import figures
from core.worker.frozen import find_source

if TYPE_CHECKING:  # an option that few have installed, and 1.7 s to load
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

INSTALL = "pip install mlflow-skinny==3.17.2"
RUN_TAG = "maskwright.run_id"
ALWAYS_THERE = "loss/train"  # a figure that every epoch has
# Source: mlflow/utils/validation.py.
FORBIDDEN = re.compile(r"[^\w.\- ]")
MAX_PARAM_LENGTH = 6000
MAX_METRICS_PER_CALL = 1000
# Ours unless the user set them. A thread of its own repeats what failed, so the client need not; a
# training tells nobody but its own server about itself, and an address in the log may hold a password.
CLIENT_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def open_mlflow(run: Run, version: DataVersion, project: str) -> "Mlflow | None":
    """Give the tracker, None where no server is named or MLflow's client is not installed."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if not uri:
        return None
    if importlib.util.find_spec("mlflow") is None:
        logger.warning(
            "MLFLOW_TRACKING_URI is set, but MLflow's client is not installed, so this run does not "
            "appear there. Install it: %s",
            INSTALL,
        )
        return None
    return Mlflow(_without_password(uri), run, version, project)


class Mlflow:
    """Keeps one MLflow run per run, whatever the number of attempts: found again by its tag."""

    def __init__(self, uri: str, run: Run, version: DataVersion, project: str) -> None:
        self.name = f"MLflow at {uri}"
        self._uri, self._run, self._version, self._project = uri, run, version, project
        self._names = valid_names(version.categories)
        self._opened: tuple[MlflowClient, str] | None = None
        self._sent: set[int] = set()

    def follow(self, epochs: Sequence[Epoch]) -> None:
        """Send the epochs that the server does not have. Raises what MLflow's client raises."""
        if self._opened is None:
            self._opened = self._open()
        client, run_id = self._opened
        for epoch in epochs:
            if epoch.epoch not in self._sent:
                _send(client, run_id, epoch, figures(epoch, self._names))
                self._sent.add(epoch.epoch)

    def end(self, verdict: str) -> None:
        """Close the MLflow run."""
        assert self._opened is not None, "follow comes first"
        client, run_id = self._opened
        client.set_terminated(run_id, verdict)

    def _open(self) -> "tuple[MlflowClient, str]":
        for name, value in CLIENT_SETTINGS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        client = MlflowClient(tracking_uri=self._uri)
        run_id = self._find_or_create(client)
        params = [
            Param(key, str(value)[:MAX_PARAM_LENGTH]) for key, value in asdict(self._run.config).items()
        ]
        client.log_batch(run_id, params=params)
        self._sent = {metric.step for metric in client.get_metric_history(run_id, ALWAYS_THERE)}
        return client, run_id

    def _find_or_create(self, client: "MlflowClient") -> str:
        experiment = _experiment(client, self._project)
        found = client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{self._run.id}'", max_results=1)
        if found:
            run_id: str = found[0].info.run_id
            client.update_run(run_id, status="RUNNING")
            return run_id
        started = self._run.started_at or self._run.created_at
        created = client.create_run(experiment, _milliseconds(started), self._tags(), self._run.name)
        return created.info.run_id

    def _tags(self) -> dict[str, str]:
        commit = find_source().commit
        return {
            RUN_TAG: self._run.id,
            "maskwright.project": self._project,
            "maskwright.data_version": self._version.hash,
            "maskwright.version": VERSION,
            **({"mlflow.source.git.commit": commit} if commit else {}),
        }


def valid_names(categories: Sequence[Category]) -> dict[int, str]:
    """Give each category a name that MLflow takes: letters, digits, ``_``, ``-``, ``.`` and spaces.

    Two that are the same then, or differ in case alone (a MySQL server takes them for one), get their
    id as well: ``dent/3``.
    """
    names = {c.category_id: FORBIDDEN.sub("_", c.name) for c in categories}
    names = {id_: name if name.strip(".") else name.replace(".", "_") for id_, name in names.items()}
    times = Counter(name.casefold() for name in names.values())
    return {id_: f"{name}/{id_}" if times[name.casefold()] > 1 else name for id_, name in names.items()}


def _without_password(uri: str) -> str:
    """Hand a user and password in the address over as variables, so that no error message shows them."""
    parts = urlsplit(uri)
    if parts.username is None:
        return uri
    os.environ.setdefault("MLFLOW_TRACKING_USERNAME", unquote(parts.username))
    os.environ.setdefault("MLFLOW_TRACKING_PASSWORD", unquote(parts.password or ""))
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _experiment(client: "MlflowClient", project: str) -> str:
    """Give the id of the experiment that the environment names, else of the project's; made if missing."""
    name, known_id = (os.environ.get(f"MLFLOW_EXPERIMENT_{part}", "") for part in ("NAME", "ID"))
    if known_id and not name:
        return known_id
    name = name or project
    found = client.get_experiment_by_name(name)
    return found.experiment_id if found is not None else client.create_experiment(name)


def _send(client: "MlflowClient", run_id: str, epoch: Epoch, values: dict[str, float]) -> None:
    from mlflow.entities import Metric

    moment = _milliseconds(epoch.created_at)
    metrics = [Metric(name, value, moment, epoch.epoch) for name, value in values.items()]
    metrics.sort(key=lambda metric: metric.key == ALWAYS_THERE)  # last: where it is, all are
    for start in range(0, len(metrics), MAX_METRICS_PER_CALL):
        client.log_batch(run_id, metrics=metrics[start : start + MAX_METRICS_PER_CALL])


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
