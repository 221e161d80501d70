"""Names as JMESPath expressions, and expressions applied to answers."""

from __future__ import annotations

import json
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

from lakecat.errors import SourceError, Where
from lakecat_connectors._faults import excerpt


def path_to(name: str) -> str:
    """The expression for a field of this name; quoted, as JSON quotes, only where it must be."""
    return name if name.isascii() and name.isidentifier() else json.dumps(name, ensure_ascii=False)


def search(path: str, value: Any, where: Where) -> Any:
    """What stands at a path; None for nothing. Raises SourceError where a function of it cannot take the value."""
    try:
        return jmespath.search(path, value)
    except JMESPathError as err:
        what = f"{path!r} cannot be applied to the answer: {excerpt(str(err))}"
        raise SourceError(what, where=where, hint="a value that may be missing needs a default: x || `[]`") from None
