"""Errors of lakecat's tree become those that ML Metadata's client raises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from lakecat.catalog.mlmd.protos import errors
from lakecat.errors import (
    CatalogFullError,
    CatalogReadOnlyError,
    CatalogUnavailableError,
    CatalogVersionError,
    FilterError,
    InvalidValueError,
    LakecatError,
    NameTakenError,
    PropertyTypeError,
    StaleEtagError,
    TypeConflictError,
    UnknownNodeError,
    UnknownTypeError,
    UsageError,
)

_CODES: Final[tuple[tuple[type[LakecatError], int], ...]] = (
    (UnknownTypeError, errors.NOT_FOUND),
    (UnknownNodeError, errors.NOT_FOUND),
    (TypeConflictError, errors.ALREADY_EXISTS),
    (NameTakenError, errors.ALREADY_EXISTS),
    (StaleEtagError, errors.FAILED_PRECONDITION),
    (PropertyTypeError, errors.INVALID_ARGUMENT),
    (InvalidValueError, errors.INVALID_ARGUMENT),
    (FilterError, errors.INVALID_ARGUMENT),
    (UsageError, errors.INVALID_ARGUMENT),
    (CatalogFullError, errors.RESOURCE_EXHAUSTED),
    (CatalogReadOnlyError, errors.PERMISSION_DENIED),
    (CatalogUnavailableError, errors.UNAVAILABLE),
    (CatalogVersionError, errors.FAILED_PRECONDITION),
)
_PLACES: Final = frozenset({"execution_index", "artifact_index"})


def code_of(error: LakecatError, *, putting: bool = False) -> int:
    """MLMD's status code for an error of ours; to name a node that is not there is an invalid argument of a put."""
    if putting and isinstance(error, UnknownNodeError):
        return errors.INVALID_ARGUMENT  # type: ignore[no-any-return]
    if isinstance(error, InvalidValueError) and error.field in _PLACES:
        return errors.OUT_OF_RANGE  # type: ignore[no-any-return]
    if isinstance(error, TypeConflictError) and error.field == "base_type":
        return errors.UNIMPLEMENTED  # type: ignore[no-any-return]
    return next((code for kind, code in _CODES if isinstance(error, kind)), errors.INTERNAL)


@contextmanager
def translating(*, putting: bool = False) -> Iterator[None]:
    """Raise ``ml_metadata.errors`` in place of lakecat's errors, which stay as their cause."""
    try:
        yield
    except LakecatError as err:
        raise errors.exception_type_from_error_code(code_of(err, putting=putting))(str(err)) from err


@contextmanager
def connecting() -> Iterator[None]:
    """Raise RuntimeError, as MLMD does where a database cannot be opened."""
    try:
        yield
    except LakecatError as err:
        raise RuntimeError(str(err)) from err
