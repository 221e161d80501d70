"""Every error lakecat raises, in one tree.

::

    LakecatError                 exit code 1
    ├── UsageError               exit code 2: what was asked cannot be meant
    │   ├── ConfigError          a key, value or file of the project is wrong
    │   ├── SelectorError        a selector or version reference does not parse
    │   └── NotFoundError        a dataset, version, job or script that is not there
    ├── StoreError               the lake's bytes
    │   ├── StoreUnavailableError
    │   ├── ObjectMissingError
    │   └── ObjectExistsError    put-if-absent found something
    ├── CatalogError             the catalog database
    │   ├── CatalogUnavailableError
    │   │   ├── CatalogUnreachableError  no such host, nobody listening there, or no database server
    │   │   ├── CatalogLostError         the connection broke off in the midst
    │   │   ├── CatalogMissingError      no such database, or no catalog in it yet
    │   │   ├── CatalogAccessError       a wrong password, or rights that are missing
    │   │   ├── CatalogBusyError         somebody else held a lock for too long
    │   │   ├── CatalogReadOnlyError     the database may be read, not written
    │   │   └── CatalogFullError         the database's disk or quota is full
    │   ├── CatalogDamagedError  the database's own files are damaged
    │   ├── CatalogVersionError  written by a newer or unknown program
    │   │   └── ForeignDatabaseError  the database of another program
    │   ├── MetadataError        what was put into, or asked of, the metadata store; has ``field`` and ``value``
    │   │   ├── UnknownTypeError     a type that is not there
    │   │   ├── UnknownNodeError     an artifact, execution or context that is not there
    │   │   ├── TypeConflictError    a type that would change in a way it may not
    │   │   ├── PropertyTypeError    a property's value that does not fit its type
    │   │   ├── InvalidValueError    a field's value that cannot be meant or kept
    │   │   ├── NameTakenError       a name, external id or relation that is there already
    │   │   ├── StaleEtagError       changed by somebody else since it was read
    │   │   ├── InUseError           something that cannot be deleted because it is needed
    │   │   └── FilterError          a filter that does not parse or names what does not exist
    │   ├── LeaseHeldError       somebody else runs this job
    │   ├── LeaseLostError       we were taken for dead; our work is refused
    │   ├── CommitConflictError  the table changed under a rewrite
    │   ├── CatalogBehindError   the lake holds versions that the catalog does not know
    │   └── CommitUnknownError   the database did not say whether it committed
    ├── TableError               Iceberg tables
    │   ├── SchemaError          a schema change that Iceberg does not allow
    │   ├── UnsupportedTypeError
    │   └── CorruptFileError
    ├── SourceError              what a connector reads
    │   ├── SourceUnavailableError  it does not answer, or broke off in the midst
    │   ├── SourceAccessError    wrong credentials, or rights that are missing
    │   ├── ParseError           a place in a file that cannot be read surely
    │   ├── SourceChangedError   the source changed while it was read
    │   └── StreamsFailedError   some of a job's streams failed; has ``failures``
    ├── EngineError              a query failed in the engine
    │   └── AccessDeniedError    SQL text reached for something outside the lake
    ├── LineageError
    └── TransformError           a script
        ├── ScriptError          does not parse, or does what scripts may not
        └── CycleError           scripts that wait for each other
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Where:
    """A place a person can open: file (path or URL), line (1-based), column (name or 1-based number)."""

    file: str
    line: int | None = None
    column: str | int | None = None

    def __str__(self) -> str:
        text = self.file if self.line is None else f"{self.file}:{self.line}"
        if self.column is None:
            return text
        return f"{text}:{self.column}" if isinstance(self.column, int) else f"{text}, column {self.column}"


class LakecatError(Exception):
    """Root of the tree: what happened, where, how to mend it, and which command next."""

    exit_code = 1

    def __init__(
        self, what: str, *, where: Where | None = None, hint: str | None = None, next_command: str | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint
        self.next_command = next_command

    def __str__(self) -> str:
        lines = [self.what if self.where is None else f"{self.where}: {self.what}"]
        if self.hint:
            lines.append(f"  mend: {self.hint}")
        if self.next_command:
            lines.append(f"  next: {self.next_command}")
        return "\n".join(lines)


class UsageError(LakecatError):
    """What was asked cannot be meant."""

    exit_code = 2


class ConfigError(UsageError):
    """A key, value or file of the project is wrong."""


class SelectorError(UsageError):
    """A selector or version reference does not parse."""


class NotFoundError(UsageError):
    """A dataset, version, job or script that is not there."""


class StoreError(LakecatError):
    """The lake's bytes cannot be read or written."""


class StoreUnavailableError(StoreError):
    """The store does not answer, or not in time."""


class ObjectMissingError(StoreError):
    """A file that should be there is not."""


class ObjectExistsError(StoreError):
    """Put-if-absent found a file at its place."""


class CatalogError(LakecatError):
    """The catalog database refused or broke."""


class CatalogUnavailableError(CatalogError):
    """The catalog database cannot be reached or opened."""


class CatalogVersionError(CatalogError):
    """The catalog was written by a newer lakecat, or by another program."""


class CatalogUnreachableError(CatalogUnavailableError):
    """No database server answers: no such host, nobody listening there, or something else that listens."""


class CatalogLostError(CatalogUnavailableError):
    """The connection to the database broke off in the midst; what was not committed was taken back."""


class CatalogMissingError(CatalogUnavailableError):
    """There is no such database, or no catalog in it yet."""


class CatalogAccessError(CatalogUnavailableError):
    """The database refuses this user: a wrong password, or rights that are missing."""


class CatalogBusyError(CatalogUnavailableError):
    """Somebody else held a lock for longer than is waited, or the database takes no more connections."""


class CatalogReadOnlyError(CatalogUnavailableError):
    """The catalog database may be read, not written."""


class CatalogFullError(CatalogUnavailableError):
    """The disk or quota of the catalog database is full; nothing was written."""


class CatalogDamagedError(CatalogError):
    """The files of the catalog's database are damaged."""


class ForeignDatabaseError(CatalogVersionError):
    """The database belongs to another program."""


class MetadataError(CatalogError):
    """Something that was put into, or asked of, the metadata store; ``field`` and ``value`` say what."""

    def __init__(
        self,
        what: str,
        *,
        field: str,
        value: object = None,
        where: Where | None = None,
        hint: str | None = None,
        next_command: str | None = None,
    ) -> None:
        super().__init__(what, where=where, hint=hint, next_command=next_command)
        self.field = field
        self.value = value


class UnknownTypeError(MetadataError):
    """A type that is not there."""


class UnknownNodeError(MetadataError):
    """An artifact, execution or context that is not there."""


class TypeConflictError(MetadataError):
    """A type that would change in a way it may not."""


class PropertyTypeError(MetadataError):
    """A property's value that does not fit the type of the property."""


class InvalidValueError(MetadataError):
    """A field's value that cannot be meant, or cannot be kept."""


class NameTakenError(MetadataError):
    """A name, external id or relation that is there already."""


class StaleEtagError(MetadataError):
    """A node that somebody else changed since it was read."""


class InUseError(MetadataError):
    """Something that cannot be deleted, because the lake or what else is in the catalog needs it."""


class FilterError(MetadataError):
    """A filter that does not parse, or names what does not exist."""


class LeaseHeldError(CatalogError):
    """Somebody else runs this job; the message says who, where and since when."""


class LeaseLostError(CatalogError):
    """Our lease ran out and was taken over, so our work is refused."""


class CommitConflictError(CatalogError):
    """The table changed in a way that this commit's rewrite did not see."""


class CatalogBehindError(CatalogError):
    """The catalog is older than the lake: it was restored, and must catch up before anything is written."""


class CommitUnknownError(CatalogError):
    """The database did not say whether the commit landed, and still does not answer."""


class TableError(LakecatError):
    """An Iceberg table cannot be read or changed."""


class SchemaError(TableError):
    """A schema change that Iceberg does not allow, or data that does not fit the schema."""


class UnsupportedTypeError(TableError):
    """A type that Iceberg v2 cannot hold exactly."""


class CorruptFileError(TableError):
    """A file of the lake is damaged or is not what its manifest says."""


class SourceError(LakecatError):
    """A source cannot be read."""


class SourceUnavailableError(SourceError):
    """A source does not answer, or not in time, or the connection to it broke off in the midst."""


class SourceAccessError(SourceError):
    """A source refuses us: wrong credentials, or rights that are missing."""


class ParseError(SourceError):
    """A place in a source file that cannot be read surely."""


class SourceChangedError(SourceError):
    """The source changed while it was read."""


class StreamsFailedError(SourceError):
    """Some streams of a job failed; the others were committed. ``failures``: the error of each, by its dataset."""

    def __init__(self, failures: Mapping[str, LakecatError]) -> None:
        dataset, first = next(iter(failures.items()))
        count = f"{len(failures)} stream{'' if len(failures) == 1 else 's'}"
        super().__init__(
            f"{count} failed: {', '.join(failures)}; {dataset}: {first.what}",
            where=first.where,
            hint=first.hint,
            next_command=first.next_command,
        )
        self.failures = dict(failures)


class EngineError(LakecatError):
    """A query failed in the engine."""


class AccessDeniedError(EngineError):
    """SQL text reached for something outside the lake."""


class LineageError(LakecatError):
    """Lineage cannot be traced or found."""


class TransformError(LakecatError):
    """A transform script failed."""


class ScriptError(TransformError):
    """A script does not parse, or does what scripts may not."""


class CycleError(TransformError):
    """Scripts that wait for each other."""
