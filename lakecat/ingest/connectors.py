"""From the name in a job to an opened connector."""

from __future__ import annotations

import difflib
from importlib.metadata import entry_points
from typing import Any, Final

from lakecat.config import IngestJob, SecretRef
from lakecat.connector import Connector, ConnectorContext
from lakecat.errors import ConfigError, Where
from lakecat.ingest.own_connectors import ProjectConnectors, named_class
from lakecat.landing import Services
from lakecat.types import Json

GROUP: Final = "lakecat.connectors"
_METHODS: Final = ("open", "discover", "plan", "read", "close")


def open_connector(services: Services, job: IngestJob) -> Connector:
    """Find the job's connector by entry point name, or by ``module:Class``, and open it with the job's options.

    The module is a file of the project's folder ``connectors``, or else one that is installed.

    Raises ConfigError with the job file's line.
    """
    kind = _find(services, job)
    options: dict[str, Json] = dict(job.json_options)
    if nulls_for_missing(job):
        options["missing_columns"] = "null"
    context = ConnectorContext(
        root=services.settings.root,
        storage=_storage(services),
        secret=lambda reference: _secret(services, reference),
        clock=services.clock,
    )
    try:
        opened: Connector = kind.open(options, context)
    except ConfigError as err:
        if err.where is None:
            err.where = job.where_of("options")
        raise
    return opened


def nulls_for_missing(job: IngestJob) -> bool:
    """Whether a column that the source lacks becomes NULL. YAML reads a bare ``null`` as None, and it is meant."""
    return job.options.get("missing_columns", "error") in ("null", None)


def _find(services: Services, job: IngestJob) -> Any:
    name = job.connector
    where = job.where_of("connector")
    own = ProjectConnectors(services.settings.root)
    if ":" in name:
        module, _, attribute = name.partition(":")
        kind = named_class(own.load(module, name, where), attribute, name, where)
    else:
        kind = _installed(name, own, where)
    if lacking := [method for method in _METHODS if not hasattr(kind, method)]:
        raise ConfigError(
            f"{name!r} is no connector: it lacks {', '.join(lacking)}",
            where=where,
            hint="derive it from lakecat.connector.RowsConnector, or write the methods of lakecat.connector.Connector",
        )
    return kind


def _installed(name: str, own: ProjectConnectors, where: Where) -> Any:
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        close = difflib.get_close_matches(name, found, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(sorted(found)) or 'none installed'}"
        if own.file(name) is not None:
            hint = f"name its class, too: connector: {name}:CLASS"
        raise ConfigError(f"there is no connector {name!r}", where=where, hint=hint)
    try:
        return found[name].load()
    except (ImportError, AttributeError) as err:
        raise ConfigError(
            f"the connector {name!r} cannot be imported: {err}", where=where, hint="install the package that has it"
        ) from err


def _secret(services: Services, reference: str) -> str:
    return SecretRef(reference).within(services.settings.root).resolve(services.environ).reveal()


def _storage(services: Services) -> dict[str, str]:
    """The project's storage settings with secrets resolved, as the connector protocol hands them on."""
    storage = services.settings.storage
    values: dict[str, str] = {}
    for name in ("endpoint", "region"):
        if (text := getattr(storage, name)) is not None:
            values[name] = text
    for name in ("access_key", "secret_key", "session_token"):
        if (reference := getattr(storage, name)) is not None:
            values[name] = reference.resolve(services.environ).reveal()
    for name in ("anonymous", "path_style"):
        if getattr(storage, name):
            values[name] = "true"
    values["connect_timeout"] = str(storage.connect_timeout.total_seconds())
    values["read_timeout"] = str(storage.read_timeout.total_seconds())
    values["attempts"] = str(storage.attempts)
    return values


__all__ = ["GROUP", "nulls_for_missing", "open_connector"]
