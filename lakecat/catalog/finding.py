"""The part of the catalog that finds and says things: search, annotations, tags."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from typing import TYPE_CHECKING

from lakecat.catalog import annotations as notes
from lakecat.catalog import search_index, tags
from lakecat.catalog.search import SearchResult, search
from lakecat.catalog.search_index import SearchKind
from lakecat.errors import CatalogReadOnlyError, UsageError

if TYPE_CHECKING:
    from lakecat.catalog.annotations import Annotation, AnnotationChange, AnnotationEdit, DatasetAnnotations
    from lakecat.catalog.database import Database
    from lakecat.catalog.tags import Tag, TagChange
    from lakecat.types import DatasetName


class Finding:
    """Methods of :class:`lakecat.catalog.Catalog`. Every one raises CatalogError."""

    database: Database

    def search(self, text: str, *, kinds: Collection[SearchKind] = (), limit: int = 20) -> SearchResult:
        """What bears this name, then what begins so, then what has the words; of all kinds, where none is named.

        An index that another version of lakecat made is made anew first, where it may be written. Raises UsageError for
        an empty text or limit.
        """
        if not text.strip():
            raise UsageError("nothing is searched for", hint="write a name or some words")
        if limit < 1:
            raise UsageError("a limit of nothing finds nothing", hint="give 1 or more")
        with self.database.reading(snapshot=True) as connection:
            if self.database.read_only or search_index.is_current(connection):
                return search(connection, text, kinds, limit)
        with contextlib.suppress(CatalogReadOnlyError):
            self.reindex()
        with self.database.reading(snapshot=True) as connection:
            return search(connection, text, kinds, limit)

    def reindex(self) -> int:
        """Make the search index anew, out of what it is made from; how many entries it has."""
        return self.database.write(search_index.rebuild)

    def annotate(self, dataset: DatasetName, column: str | None, edit: AnnotationEdit, *, by: str) -> Annotation:
        """Change what is said of a dataset or of one of its columns. Raises NotFoundError, UsageError."""
        return notes.annotate(self.database, dataset, column, edit, by=by)

    def annotations(self, dataset: DatasetName) -> DatasetAnnotations:
        """What is said of a dataset and its columns."""
        with self.database.reading() as connection:
            return notes.of_dataset(connection, dataset)

    def annotated(self) -> dict[str, Annotation]:
        """What is said of every dataset, by its name; those of which nothing is said are missing."""
        with self.database.reading() as connection:
            return notes.of_datasets(connection)

    def labels_of_columns(self) -> dict[str, frozenset[str]]:
        """The labels of all the columns that a dataset has now, by its name."""
        with self.database.reading() as connection:
            return notes.labels_of_columns(connection)

    def columns_of_datasets(self) -> dict[str, frozenset[str]]:
        """The names of every dataset's columns now, by its name."""
        with self.database.reading() as connection:
            return notes.columns_of_datasets(connection)

    def annotation_changes(
        self, dataset: DatasetName, field_id: int | None = None, limit: int | None = None
    ) -> tuple[AnnotationChange, ...]:
        """Every change of what was said of a dataset or column (field id 0: the dataset alone), newest first."""
        with self.database.reading() as connection:
            return notes.changes(connection, dataset, field_id, limit)

    def tags(self, dataset: DatasetName | None = None) -> tuple[Tag, ...]:
        """The tags of a dataset, or of all, by dataset and name."""
        with self.database.reading() as connection:
            return tags.tags(connection, dataset)

    def tag_changes(
        self, dataset: DatasetName | None = None, name: str | None = None, limit: int | None = None
    ) -> tuple[TagChange, ...]:
        """Every move of tags, newest first."""
        with self.database.reading() as connection:
            return tags.changes(connection, dataset, name, limit)
