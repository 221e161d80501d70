"""Lists come page by page, whole and in order, whatever happens between two pages."""

from __future__ import annotations

import pytest

from lakecat.catalog import MetadataStore
from lakecat.catalog.metadata_store import (
    Artifact,
    ArtifactType,
    Attribution,
    Context,
    ContextType,
    Execution,
    ExecutionType,
    ListOptions,
    OrderByField,
)
from lakecat.errors import InvalidValueError


def put(store: MetadataStore, count: int) -> list[int]:
    """Artifacts in calls of two, so that several have the same time and others do not."""
    type_id = store.put_artifact_type(ArtifactType(name="Data"))
    ids: list[int] = []
    for start in range(0, count, 2):
        pair = range(start, min(start + 2, count))
        ids += store.put_artifacts([Artifact(type_id=type_id, name=f"n{number}") for number in pair])
    return ids


def walk(store: MetadataStore, options: ListOptions, context_id: int | None = None) -> list[list[str | None]]:
    pages, token = [], None
    while True:
        page = store.get_artifacts_page(options, token, context_id=context_id)
        pages.append([node.name for node in page.nodes])
        token = page.next_page_token
        if token is None:
            return pages


@pytest.mark.parametrize("order", [None, *OrderByField])
@pytest.mark.parametrize("is_asc", [True, False])
def test_pages_are_the_whole_list_in_its_order(store: MetadataStore, order: OrderByField | None, is_asc: bool) -> None:
    put(store, 7)
    whole = [f"n{number}" for number in (range(7) if is_asc else reversed(range(7)))]
    for size in (1, 3, 7, 8):
        pages = walk(store, ListOptions(limit=size, order_by=order, is_asc=is_asc))
        assert [name for page in pages for name in page] == whole
        assert [len(page) for page in pages[:-1]] == [size] * (len(pages) - 1)
        assert pages[-1], "the last page says that it is the last"


def test_what_is_put_meanwhile_moves_nothing(store: MetadataStore) -> None:
    put(store, 4)
    newest = ListOptions(limit=2, order_by=OrderByField.CREATE_TIME, is_asc=False)
    first = store.get_artifacts_page(newest)
    put_type = store.get_artifact_type("Data").id
    store.put_artifacts([Artifact(type_id=put_type, name="later")])
    second = store.get_artifacts_page(newest, first.next_page_token)
    assert [node.name for node in [*first.nodes, *second.nodes]] == ["n3", "n2", "n1", "n0"]
    assert second.next_page_token is None


def test_pages_know_filters_contexts_and_the_other_kinds(store: MetadataStore) -> None:
    ids = put(store, 5)
    run = store.put_context_type(ContextType(name="Run"))
    contexts = store.put_contexts([Context(type_id=run, name=name) for name in ("a", "b", "c")])
    store.put_attributions_and_associations([Attribution(key, contexts[0]) for key in ids[1:4]], [])
    assert walk(store, ListOptions(limit=2), contexts[0]) == [["n1", "n2"], ["n3"]]
    assert walk(store, ListOptions(limit=2, filter_query="name != 'n2'"), contexts[0]) == [["n1", "n3"]]
    assert walk(store, ListOptions(limit=1, filter_query="name IN ('n0', 'n4')")) == [["n0"], ["n4"]]
    assert walk(store, ListOptions(filter_query="name = 'nobody'")) == [[]]
    page = store.get_contexts_page(ListOptions(limit=2))
    assert [node.name for node in page.nodes] == ["a", "b"]
    assert [node.name for node in store.get_contexts_page(page_token=page.next_page_token).nodes] == ["c"]
    train = store.put_execution_type(ExecutionType(name="Train"))
    store.put_executions([Execution(type_id=train, name=f"e{number}") for number in range(101)])
    executions = store.get_executions_page()
    assert len(executions.nodes) == 100
    assert [node.name for node in store.get_executions_page(page_token=executions.next_page_token).nodes] == ["e100"]


@pytest.mark.parametrize("token", ["", "x", "!", "bnVsbA==", "WzEsMiwzXQ==", "grüße", "W10="])
def test_what_is_no_token_is_refused(token: str) -> None:
    with MetadataStore.in_memory() as store, pytest.raises(InvalidValueError) as caught:
        store.get_artifacts_page(None, token)
    assert (caught.value.field, caught.value.value) == ("page_token", token)


def test_a_token_is_good_for_its_own_list_only() -> None:
    with MetadataStore.in_memory() as store:
        put(store, 3)
        token = store.get_artifacts_page(ListOptions(limit=1)).next_page_token
        assert [node.name for node in store.get_artifacts_page(ListOptions(limit=5), token).nodes] == ["n1", "n2"]
        for other in (
            ListOptions(is_asc=False),
            ListOptions(filter_query="id > 0"),
            ListOptions(order_by=OrderByField.CREATE_TIME),
        ):
            with pytest.raises(InvalidValueError):
                store.get_artifacts_page(other, token)
        with pytest.raises(InvalidValueError):
            store.get_executions_page(None, token)
