"""Names as JMESPath expressions."""

from __future__ import annotations

import json


def path_to(name: str) -> str:
    """The expression for a field of this name; quoted, as JSON quotes, only where it must be."""
    return name if name.isascii() and name.isidentifier() else json.dumps(name, ensure_ascii=False)
