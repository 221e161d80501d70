"""Texts that stand in configuration files, and how they are read: sizes, durations, partitions, types."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from lakecat.config.secret import SecretRef
from lakecat.errors import ConfigError, SelectorError
from lakecat.types import DatasetName

_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)")
_UNITS: Final = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|min|h|d|days?|hours?|minutes?|seconds?)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_WORDS: Final = {"day": "d", "hour": "h", "minute": "m", "second": "s"}
_PARTITION: Final = re.compile(
    r"(?:(?:identity|year|month|day|hour)\(\s*{c}\s*\)|(?:bucket|truncate)\(\s*[1-9][0-9]{{0,8}}\s*,\s*{c}\s*\)|{c})".format(
        c=r"[^\s(),][^(),]*?"
    )
)
_TYPE: Final = re.compile(
    r"boolean|int|long|float|double|date|time|timestamp|timestamptz|string|uuid|binary"
    r"|decimal\(\s*([1-9][0-9]?)\s*,\s*([0-9]{1,2})\s*\)|fixed\[[1-9][0-9]{0,5}\]"
)


def parse_size(value: object) -> object:
    """Bytes of ``128 MiB``, ``1.5GB`` or a plain number."""
    if not isinstance(value, str):
        return value
    if not (match := _SIZE.fullmatch(value.strip())):
        raise ValueError(f"{value!r} is not a size; write 128 MiB or a number of bytes")
    return int(float(match[1]) * _UNITS[match[2]])


def parse_duration(value: object) -> object:
    """A duration of ``30s``, ``5 days``, ``1.5h`` or a plain number of seconds."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    if not isinstance(value, str):
        return timedelta(seconds=value)
    if not (match := _DURATION.fullmatch(value.strip())):
        raise ValueError(f"{value!r} is not a duration; write 30s, 15 min, 12h or 5 days")
    unit = match[2] if match[2] in _SECONDS else _WORDS[match[2].removesuffix("s")]
    return timedelta(seconds=float(match[1]) * _SECONDS[unit])


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta():
        raise ValueError("must be longer than nothing")
    return value


def _dataset(value: object) -> DatasetName:
    if isinstance(value, DatasetName):
        return value
    if not isinstance(value, str):
        raise ValueError("must be a dataset name, namespace.name")
    try:
        return DatasetName.parse(value)
    except SelectorError as err:
        raise ValueError(f"{err.what}; {err.hint}") from err


def _secret(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str):
        return value
    try:
        ref = SecretRef(value)
    except ConfigError as err:
        raise ValueError(f"{err.what}; {err.hint}") from None
    root = info.context.get("root") if info.context else None
    return ref.within(root) if isinstance(root, Path) else ref


def _folder(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str) or not value:
        return value
    root = info.context.get("root") if info.context else None
    return root / Path(value).expanduser() if isinstance(root, Path) else Path(value)


def _partition(value: str) -> str:
    if not _PARTITION.fullmatch(value.strip()):
        raise ValueError(
            f"{value!r} is not a partition; write a column, or year|month|day|hour(column), "
            "bucket(16, column), truncate(4, column)"
        )
    return value.strip()


def _type_text(value: str) -> str:
    match = _TYPE.fullmatch(value.strip())
    if not match or (match[1] and (int(match[1]) > 38 or int(match[2]) > int(match[1]))):
        raise ValueError(
            f"{value!r} is not an Iceberg type; write boolean, int, long, float, double, decimal(p,s) with p up to "
            "38, date, time, timestamp, timestamptz, string, uuid, fixed[n] or binary"
        )
    return value.strip()


def _size_text(value: str) -> str:
    parse_size(value)
    return value.strip()


def cron_text(value: str) -> str:
    """A cron expression of five fields, checked. Raises ValueError."""
    try:
        CronSim(value, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as err:
        raise ValueError(f"{value!r} is not a cron expression ({err}); write five fields, e.g. 0 6 * * *") from err
    return value


def zone_text(value: str) -> str:
    """A time zone of the IANA database, checked. Raises ValueError."""
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as err:
        raise ValueError(f"{value!r} is not a time zone; write e.g. Europe/Berlin or UTC") from err
    return value


Size: TypeAlias = Annotated[int, BeforeValidator(parse_size)]
SizeText: TypeAlias = Annotated[str, AfterValidator(_size_text)]
Duration: TypeAlias = Annotated[timedelta, BeforeValidator(parse_duration), AfterValidator(_positive)]
Dataset: TypeAlias = Annotated[DatasetName, BeforeValidator(_dataset)]
Folder: TypeAlias = Annotated[Path, BeforeValidator(_folder)]
SecretReference: TypeAlias = Annotated[SecretRef, BeforeValidator(_secret)]
PartitionSpecText: TypeAlias = Annotated[str, AfterValidator(_partition)]
TypeText: TypeAlias = Annotated[str, AfterValidator(_type_text)]
CronText: TypeAlias = Annotated[str, AfterValidator(cron_text)]
ZoneText: TypeAlias = Annotated[str, AfterValidator(zone_text)]
