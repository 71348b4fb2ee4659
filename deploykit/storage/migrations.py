"""What brings a store of an older version up to date.

`SCHEMA` is the version of the tables and of the JSON in them. Who raises it writes a step that takes a store of the
version before to the new one, and enters it in `STEPS` under the version it starts from. The writer runs all steps that
are needed in one transaction: a store is of the old version or of the new one, also when the process is killed. A
version from which no step starts cannot be migrated: such stores are refused.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from deploykit.core.serial import dump, parse

SCHEMA = 2

#: Changes a database of one schema into one of the next.
Migrate = Callable[[sqlite3.Connection], None]
STEPS: dict[int, Migrate] = {}


def steps_from(schema: int) -> list[Migrate] | None:
    """Steps that take a store to today's schema, in their order; None when one is missing."""
    found = [STEPS.get(number) for number in range(schema, SCHEMA)]
    steps = [step for step in found if step is not None]
    return steps if len(steps) == len(found) else None


def rewrite(database: sqlite3.Connection, table: str, change: Callable[[Any], Any]) -> None:
    """Change the JSON of all rows of a table, for use in steps; damaged ones stay as they are, for a repair to name.

    Args:
        database: In a transaction.
        table: Its name.
        change: Takes a row's data and gives the new data, or None to drop the row.
    """
    keys = KEYS[table]
    named = " AND ".join(f"{key} = ?" for key in keys)
    for where in database.execute(f"SELECT {', '.join(keys)} FROM {table}").fetchall():  # noqa: S608  our own names
        packed = database.execute(f"SELECT data FROM {table} WHERE {named}", where).fetchone()  # noqa: S608
        try:
            data = parse(packed[0])
        except (ValueError, TypeError):
            continue
        if (changed := change(data)) is None:
            database.execute(f"DELETE FROM {table} WHERE {named}", where)  # noqa: S608
        else:
            database.execute(f"UPDATE {table} SET data = ? WHERE {named}", (dump(changed), *where))  # noqa: S608


#: Columns that tell the rows of each table.
KEYS = {
    "sweeps": ("context",),
    "records": ("kind", "key"),
    "launches": ("series", "number"),
    "rows": ("context", "key"),
}
