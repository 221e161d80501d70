"""Use case: change a table's columns by hand. Old files stay as they are; readers match columns by field id."""

from __future__ import annotations

from collections.abc import Sequence

from lakecat.catalog import ExecutionStart
from lakecat.errors import NotFoundError, UsageError
from lakecat.landing import Harvest, Services, Work, hold, land
from lakecat.tables import ColumnChange, Operation, RenameColumn, TableChange
from lakecat.tables import alter as alter_schema
from lakecat.types import ColumnEdge, DatasetName, EdgeKind, ExecutionType, Version, VersionRef


def alter(services: Services, dataset: DatasetName, changes: Sequence[ColumnChange]) -> Version | None:
    """Apply column changes in order, all in one commit; the new version, or None when nothing changes.

    It is an execution of its own, so that lineage follows a renamed column. Raises NotFoundError, SchemaError (a
    change that Iceberg does not allow, or that the partitioning forbids), UsageError, CatalogError, StoreError.
    """
    if not changes:
        raise UsageError("no change of a column is given")
    current = services.catalog.resolve(VersionRef(dataset))
    with hold(services, f"alter/{dataset}") as held:

        def produce(work: Work) -> Harvest:
            state = work.state(dataset)
            if state is None:
                raise NotFoundError(f"there is no table {dataset}", next_command="lakecat ls")
            schema = alter_schema(state.schema, changes, last_column_id=state.last_column_id)
            if schema is None:
                return Harvest()
            change = TableChange(
                dataset=dataset,
                operation=Operation.APPEND,
                location=state.location,
                schema=schema,
                properties=work.summary(),
            )
            return Harvest(changes=(change,), edges=_renames(dataset, changes))

        start = ExecutionStart(
            type=ExecutionType.MAINTENANCE,
            job=f"alter {dataset}",
            run_key=None,
            targets=(dataset,),
            inputs=(current,),
            properties={"changes": [repr(change) for change in changes]},
            project=services.settings.project,
        )
        landed = land(services, held, start, produce)
    return landed.versions[0] if landed.versions else None


def _renames(dataset: DatasetName, changes: Sequence[ColumnChange]) -> tuple[ColumnEdge, ...]:
    """Edges of renamed top-level columns, each from the name before this execution to the name after it."""
    before: dict[str, str] = {}
    for change in changes:
        if isinstance(change, RenameColumn) and len(change.path) == 1:
            before[change.name] = before.pop(change.path[0], change.path[0])
    name = str(dataset)
    return tuple(ColumnEdge(name, new, name, old, EdgeKind.IDENTITY) for new, old in before.items())
