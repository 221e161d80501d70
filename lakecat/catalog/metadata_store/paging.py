"""Lists page by page, each from where the one before ended: no page costs more than the first."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

from lakecat.catalog.metadata_store import codec, listing
from lakecat.catalog.metadata_store.base import StoreBase
from lakecat.catalog.metadata_store.kinds import ARTIFACT, CONTEXT, EXECUTION, Kind
from lakecat.catalog.metadata_store.nodes import nodes_of
from lakecat.catalog.metadata_store.values import Artifact, Context, Execution, ListOptions
from lakecat.errors import InvalidValueError

T = TypeVar("T", Artifact, Execution, Context)

PAGE: Final = 100
"""Nodes on a page where the options have no limit; ML Metadata's number."""
_LEAST, _MOST = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some nodes of a list; ``next_page_token`` gives the next ones, and is None on the last page."""

    nodes: Sequence[T]
    next_page_token: str | None


class PagingMethods(StoreBase):
    """Get nodes page by page: ``limit`` of the options is the size of a page (100 without one).

    A page begins after the last node of the page before, so that nodes which are put or removed meanwhile move no
    other from one page to another. Ordered by ``UPDATE_TIME``, a node that is changed meanwhile may come again.
    """

    def get_artifacts_page(
        self,
        list_options: ListOptions | None = None,
        page_token: str | None = None,
        *,
        context_id: int | None = None,
    ) -> Page[Artifact]:
        """A page of artifacts, the first without a token; ``context_id``: only those in that context.

        Raises InvalidValueError (also where the token is one of other options), FilterError.
        """
        return self._page(ARTIFACT, list_options, page_token, context_id)

    def get_executions_page(
        self,
        list_options: ListOptions | None = None,
        page_token: str | None = None,
        *,
        context_id: int | None = None,
    ) -> Page[Execution]:
        """A page of executions, as ``get_artifacts_page``."""
        return self._page(EXECUTION, list_options, page_token, context_id)

    def get_contexts_page(
        self, list_options: ListOptions | None = None, page_token: str | None = None
    ) -> Page[Context]:
        """A page of contexts, as ``get_artifacts_page``."""
        return self._page(CONTEXT, list_options, page_token, None)

    def _page(self, kind: Kind, options: ListOptions | None, token: str | None, context_id: int | None) -> Page[Any]:
        options = options or ListOptions()
        size = options.limit or PAGE
        listed = _digest(kind, options, context_id)
        after = None if token is None else _read(token, listed)
        with self._reading() as session:
            # One more than the page holds tells whether there is a next one.
            more = replace(options, limit=size + 1)
            found = listing.rows_of(session, kind, more, context_id=context_id, after=after)
            last = len(found) <= size
            found = found[:size]
            nodes = nodes_of(session, self._types, kind, found)
        return Page(nodes, None if last else _token(listed, listing.place_of(found[-1], options)))


def _digest(kind: Kind, options: ListOptions, context_id: int | None) -> str:
    """What a token is good for: the same list in the same order; pages may have another size."""
    order = None if options.order_by is None else int(options.order_by)
    return codec.digest(kind.name, order, options.is_asc, options.filter_query, context_id)[:16]


def _token(listed: str, place: tuple[int, int]) -> str:
    return base64.urlsafe_b64encode(json.dumps([listed, *place]).encode()).decode()


def _read(token: str, listed: str) -> tuple[int, int]:
    try:
        its, time, key = json.loads(base64.urlsafe_b64decode(token.encode("ascii")))
    except (binascii.Error, ValueError, TypeError, AttributeError) as err:
        raise InvalidValueError("this is no page token", field="page_token", value=token) from err
    numbers = all(type(number) is int and _LEAST <= number <= _MOST for number in (time, key))
    if its != listed or not numbers:
        raise InvalidValueError(
            "this page token is one of another list",
            field="page_token",
            value=token,
            hint="give it with the filter, order and context that it was got with",
        )
    return time, key
