"""What people say of datasets, and how they find them: search, tags, descriptions, owners, labels, freshness."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol, TypeAlias

from lakecat.catalog.annotations import Annotation, AnnotationChange, AnnotationEdit
from lakecat.catalog.search_index import SearchKind
from lakecat.errors import SelectorError, UsageError
from lakecat.lake.holder import this_process
from lakecat.lake.questions import parse_target
from lakecat.types import DatasetName, VersionRef

if TYPE_CHECKING:
    from lakecat.catalog import Catalog, DatasetInfo
    from lakecat.catalog.search import SearchResult
    from lakecat.catalog.tagging import Tagging
    from lakecat.catalog.tags import Tag, TagChange
    from lakecat.landing import Services

Texts: TypeAlias = str | Iterable[str]


class _Annotated(Protocol):
    """What annotating needs of a lake."""

    _clock: Callable[[], datetime]

    @property
    def catalog(self) -> Catalog: ...

    @property
    def services(self) -> Services: ...

    def _tagging(self) -> Tagging: ...


class Annotating:
    """The part of :class:`lakecat.lake.Lake` that finds, names and describes."""

    def search(
        self: _Annotated, text: str, *, kinds: str | SearchKind | Collection[str | SearchKind] = (), limit: int = 20
    ) -> SearchResult:
        """Find datasets, columns, jobs, scripts, and named things of the metadata store.

        First what bears this name, then what begins so, then what has all the words: in its name, then in a column's,
        then in descriptions, labels, owners and tags. A word of three letters or more may be the beginning of a word.

        Args:
            text: a name or words; nothing in it has a special meaning.
            kinds: only these: dataset, job, script, column, artifact, execution, context, type.
            limit: how many at most.

        Raises:
            UsageError: the text is empty, or a kind is none.
        """
        given = (kinds,) if isinstance(kinds, str) else tuple(kinds)
        return self.catalog.search(text, kinds=[_kind(one) for one in given], limit=limit)

    def reindex(self: _Annotated) -> int:
        """Make the search index anew; how many entries it has. ``doctor`` says when it is needed."""
        return self.catalog.reindex()

    def tag(self: _Annotated, ref: str | VersionRef, name: str) -> Tag:
        """Let ``name`` mean a version (``raw.orders@v7``; the current one without ``@``), whatever it meant before.

        ``raw.orders@prod`` then works wherever a version does, and every Iceberg engine sees the tag. A tagged version
        does not expire. Raises UsageError, NotFoundError, TableError (it has expired), CatalogError, StoreError.
        """
        return self._tagging().tag(VersionRef.parse(ref) if isinstance(ref, str) else ref, name)

    def untag(self: _Annotated, ref: str | VersionRef, *, apply: bool = True) -> Tag | None:
        """Take a tag (``raw.orders@prod``) away; what it meant (None: only the table's own metadata had it).

        Without ``apply`` it only says that. Raises NotFoundError, UsageError, CatalogError, StoreError.
        """
        found = VersionRef.parse(ref) if isinstance(ref, str) else ref
        if found.tag is None:
            raise UsageError(f"{found} names no tag", hint="write dataset@tag: raw.orders@prod")
        work = self._tagging()
        return work.untag(found.dataset, found.tag) if apply else work.find(found.dataset, found.tag)

    def tags(self: _Annotated, dataset: str | DatasetName | None = None) -> tuple[Tag, ...]:
        """The tags of a dataset, or of all, by dataset and name."""
        return self.catalog.tags(_name(dataset))

    def tag_history(
        self: _Annotated, dataset: str | DatasetName | None = None, name: str | None = None, *, limit: int | None = None
    ) -> tuple[TagChange, ...]:
        """Every move of tags, newest first: who moved it when, from which version to which."""
        return self.catalog.tag_changes(_name(dataset), name, limit)

    def annotate(
        self: _Annotated,
        target: str,
        *,
        description: str | None = None,
        owners: Texts = (),
        disown: Texts = (),
        labels: Texts = (),
        unlabel: Texts = (),
        fresh_within: str | timedelta | None = None,
    ) -> Annotation:
        """Say something of a dataset (``raw.orders``) or column (``raw.orders.email``); what is not given stays.

        Args:
            target: the dataset or column.
            description: what it is; an empty text takes it away.
            owners: who is to be asked, added to those there are.
            disown: owners to take away.
            labels: ``pii``, ``gold``, added to those there are.
            unlabel: labels to take away.
            fresh_within: how old a dataset's newest version may be: ``24h``, ``7d``; ``none`` takes it away.

        Returns:
            All that is said of it then.

        Raises:
            NotFoundError: there is no such dataset or column.
            UsageError: a text cannot be kept, or a column is given a freshness.
        """
        ref, column = parse_target(target)
        if ref != VersionRef(ref.dataset):
            raise SelectorError(f"{target}: what is said is said of all versions", hint="leave out what follows the @")
        edit = AnnotationEdit(
            description=description,
            owners=_texts(owners),
            disown=_texts(disown),
            labels=_texts(labels),
            unlabel=_texts(unlabel),
            fresh_within=_duration(fresh_within),
        )
        return self.catalog.annotate(ref.dataset, column, edit, by=this_process().who)

    def annotation_history(self: _Annotated, target: str, *, limit: int | None = None) -> tuple[AnnotationChange, ...]:
        """Every change of what was said of a dataset and its columns (or of one column), newest first.

        Of a column, all that was said under any name that it had; also of one that was dropped, by its last name.
        """
        ref, column = parse_target(target)
        changes = self.catalog.annotation_changes(ref.dataset)
        if column is not None:
            field = _field_id(self.catalog, ref.dataset, column)
            changes = self.catalog.annotation_changes(ref.dataset, field)
        return changes if limit is None else changes[:limit]

    def selection_attributes(self: _Annotated) -> Mapping[str, Mapping[str, frozenset[str]]]:
        """By dataset what ``tag:``, ``owner:`` and ``col:`` select it by."""
        catalog = self.catalog
        said, marked, columns = catalog.annotated(), catalog.labels_of_columns(), catalog.columns_of_datasets()
        tags: dict[str, set[str]] = {}
        for tag in catalog.tags():
            tags.setdefault(str(tag.dataset), set()).add(tag.name)
        nothing = Annotation()
        return {
            name: {
                "tag": frozenset((*said.get(name, nothing).labels, *marked.get(name, ()), *tags.get(name, ()))),
                "owner": frozenset(said.get(name, nothing).owners),
                "col": names,
            }
            for name, names in columns.items()
        }

    def _with_annotations(self: _Annotated, infos: Collection[DatasetInfo]) -> tuple[DatasetInfo, ...]:
        said, tags = self.catalog.annotated(), dict[str, dict[str, int]]()
        for tag in self.catalog.tags():
            tags.setdefault(str(tag.dataset), {})[tag.name] = tag.version
        nothing = Annotation()
        return tuple(
            replace(
                info,
                description=said.get(str(info.name), nothing).description,
                labels=said.get(str(info.name), nothing).labels,
                owners=said.get(str(info.name), nothing).owners,
                tags=tags.get(str(info.name), {}),
            )
            for info in infos
        )

    def _tagging(self: _Annotated) -> Tagging:
        from lakecat.catalog.tagging import Tagging

        services = self.services
        return Tagging(
            catalog=self.catalog,
            store=services.store,
            holder=services.holder,
            retention=services.settings.retention,
            now=self._clock(),
        )


def _field_id(catalog: Catalog, dataset: DatasetName, column: str) -> int:
    """The column that has this name now, or had it last."""
    from lakecat.lake.questions import find_column

    version = catalog.resolve(VersionRef(dataset))
    if all(one.name.lower() != column.lower() for one in catalog.schema(version)):
        for earlier in catalog.versions(dataset):
            for one in catalog.schema(earlier):
                if one.name.lower() == column.lower():
                    return one.field_id
    return find_column(catalog, version, column).field_id


def _kind(text: str | SearchKind) -> SearchKind:
    try:
        return SearchKind(text)
    except ValueError:
        raise UsageError(f"{text!r} is no kind of thing", hint=", ".join(SearchKind)) from None


def _texts(texts: Texts) -> tuple[str, ...]:
    return (texts,) if isinstance(texts, str) else tuple(texts)


def _name(name: str | DatasetName | None) -> DatasetName | None:
    return DatasetName.parse(name) if isinstance(name, str) else name


def _duration(text: str | timedelta | None) -> timedelta | None:
    from lakecat.config import parse_duration

    if not isinstance(text, str):
        return text
    if text.strip().lower() == "none":
        return timedelta()
    try:
        found = parse_duration(text)
    except (ValueError, OverflowError):
        found = None
    if not isinstance(found, timedelta) or found <= timedelta():
        raise UsageError(f"{text!r} is no length of time", hint="write 24h, 90min, 7 days, or none")
    return found
