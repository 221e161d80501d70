"""A catalog that was restored from a backup or the lake, until it is settled that the lake is not ahead of it.

As long as that is so, nothing may begin and no garbage is collected: a new version would take the place of one that
the lake holds already, and files of versions that the catalog has forgotten would count as garbage.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from lakecat.catalog import registry
from lakecat.catalog import schema as s
from lakecat.errors import CatalogBehindError

SETTING: Final = "restored"
"""The setting that such a catalog has until then: when its backup was made, and of what database."""


def note() -> sa.ScalarSelect[Any]:
    """The setting's text, NULL where there is none; part of other statements, so that it costs no round trip."""
    return sa.select(s.setting.c.value).where(s.setting.c.name == SETTING).scalar_subquery()


def mark(connection: sa.Connection, *, made: datetime, source: str) -> None:
    """Note that the catalog was restored from a backup of that time."""
    text = json.dumps({"backup": made.isoformat(), "source": source})
    registry.upsert(connection, s.setting, [{"name": SETTING, "value": text}])


def wait(connection: sa.Connection) -> None:
    """Note that the catalog was made from the lake, and that something was left open for the user to decide."""
    registry.upsert(connection, s.setting, [{"name": SETTING, "value": json.dumps({"backup": None})}])


def is_from_backup(connection: sa.Connection) -> bool:
    """Whether the catalog is that of a backup, and nobody has looked yet."""
    text = connection.execute(sa.select(note())).scalar_one()
    return text is not None and json.loads(text)["backup"] is not None


def settle(connection: sa.Connection) -> None:
    """Note that the catalog agrees with the lake: it may be written to again."""
    connection.execute(sa.delete(s.setting).where(s.setting.c.name == SETTING))


def check(connection: sa.Connection) -> None:
    """Raise CatalogBehindError as long as nobody has looked."""
    refuse(connection.execute(sa.select(note())).scalar_one())


def refuse(text: str | None) -> None:
    """Raise CatalogBehindError for a catalog with this note."""
    if text is None:
        return
    backup = json.loads(text)["backup"]
    if backup is None:
        raise CatalogBehindError(
            "the catalog was made again from the lake, which does not say of all commits whether they have happened",
            hint="see which they are, and decide: --heads newest takes them, --heads certain goes on without them",
            next_command="lakecat catalog rebuild",
        )
    made = datetime.fromisoformat(backup).isoformat(timespec="seconds").replace("+00:00", "Z")
    raise CatalogBehindError(
        f"the catalog was restored from a backup of {made}, and the lake may hold newer versions than it knows",
        hint="let it catch up with the lake first; until then it can be read, but nothing is written or removed",
        next_command="lakecat catalog rebuild --yes",
    )
