"""What the store costs on a server, counted on the wire."""

from __future__ import annotations

import psycopg
from sqlalchemy.engine import URL
from wire import Wire


def test_the_counter_sees_what_a_driver_sends_of_its_own_accord(postgres_url: URL) -> None:
    with Wire.before(postgres_url) as wire:
        url = wire.through(postgres_url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(url) as connection:
            with wire.counting() as count:
                connection.execute("SELECT 1")
                connection.execute("SELECT 2")
                connection.commit()
            assert count.round_trips == 4, "BEGIN, two statements, COMMIT"
            with wire.counting() as count:
                connection.autocommit = True
                connection.execute("SELECT 3")
            assert count.round_trips == 1
            with wire.counting() as count, connection.pipeline():
                cursors = [connection.execute("SELECT %s::int", [number]) for number in range(20)]
            assert [cursor.fetchone() for cursor in cursors] == [(number,) for number in range(20)]
            assert count.round_trips < 20
