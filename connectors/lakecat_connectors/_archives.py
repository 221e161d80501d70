"""Zip and tar archives: members that match are unpacked into the slice's folder, bounded, and read as files.

Members are never written under their own names. An archive with anything in it that is no plain file at a plain path is
refused whole: links, devices, absolute paths, ``..``, encrypted members.
"""

from __future__ import annotations

import fnmatch
import json
import os
import posixpath
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from lzma import LZMAError
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa

from lakecat.errors import LakecatError, ParseError, SourceChangedError, Where
from lakecat_connectors._bytes import MAGICS, RawFile, decompressed
from lakecat_connectors._faults import excerpt
from lakecat_connectors._job import FileResult, FormatReader, Job, JobFile
from lakecat_connectors._limits import may_write, progress
from lakecat_connectors._options import Compression, FilesOptions, file_archive
from lakecat_connectors._rejects import Rejects

MAX_MEMBERS: Final = 100_000
MAX_RATIO: Final = 500
MAX_BYTES: Final = 64 << 30
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_LISTED: Final = 200
_SMALL: Final = 16 << 20
_CHUNK: Final = 1 << 20
_BLOCK: Final = 512
# APPNOTE.TXT 4.3.7 and 4.3.16: a member's header, and the end of the directory with its comment.
_LOCAL: Final = b"PK\3\4"
_END: Final = b"PK\5\6"
_END_BYTES: Final = 22
_MAX_COMMENT: Final = 65_535
_ERRORS: Final = (
    zipfile.BadZipFile,
    tarfile.TarError,
    struct.error,
    zlib.error,
    LZMAError,
    OSError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    ValueError,
    OverflowError,
)


@dataclass(frozen=True, slots=True)
class _Member:
    """One file of an archive: its path there, its size, and how it is opened."""

    name: str
    open: Callable[[], IO[bytes]]


@dataclass(slots=True)
class _Unpacked:
    """What was unpacked: the files, and of which of the job's archives each is."""

    files: list[JobFile] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)


class ArchiveReader:
    """Reads the members of one slice's archives by the reader of their format."""

    def __init__(self, job: Job, reader_for: Callable[[Job], FormatReader]) -> None:
        """Unpack what matches. Raises ParseError for what is not safe, and when nothing matches."""
        if job.folder is None:
            raise AssertionError("archives are unpacked into a folder of the slice")
        self._job = job
        self._unpacked = unpack(job, Path(job.folder))
        self._rejects = Rejects(job.rejects.limit)
        self._inner = reader_for(replace(job, files=tuple(self._unpacked.files), rejects=self._rejects))

    @property
    def results(self) -> tuple[FileResult, ...]:
        """What each archive became: the rows of all its members, and of each."""
        rows: Counter[int] = Counter()
        members: list[dict[str, int]] = [{} for _ in self._job.files]
        for owner, file, result in zip(self._unpacked.owners, self._unpacked.files, self._inner.results, strict=True):
            rows[owner] += result.rows
            members[owner][file.shown.removeprefix(f"{self._job.files[owner].shown}/")] = result.rows
        return tuple(
            FileResult(rows[owner], sha256, _facts(members[owner]))
            for owner, sha256 in enumerate(self._unpacked.hashes)
        )

    def open(self) -> pa.Schema:
        """Decide the schema over all members."""
        return self._inner.open()

    def batches(self, at_file: Callable[[int], None]) -> Iterator[pa.RecordBatch]:
        """Every row of every member; then the archives are proved unchanged."""
        yield from self._inner.batches(lambda index: at_file(self._unpacked.owners[index]))
        for row in self._rejects.rows():
            member = self._unpacked.files[row.file].shown.rpartition("/")[2]
            self._job.rejects.absorb(
                replace(row, file=self._unpacked.owners[row.file], reason=f"in {member}: {row.reason}")
            )
        for file, sha256 in zip(self._job.files, self._unpacked.hashes, strict=True):
            if _hash(file) != sha256:
                raise SourceChangedError("the file changed while it was read", where=Where(file.shown))


def unpack(job: Job, folder: Path) -> _Unpacked:
    """The members that match, unpacked. Raises ParseError."""
    result = _Unpacked()
    with may_write(MAX_BYTES):
        for index, file in enumerate(job.files):
            result.hashes.append(_hash(file))
            before = len(result.files)
            try:
                for member, path in _unpacked(job.options, file, folder, index):
                    shown = f"{file.shown}/{member.name}"
                    result.files.append(JobFile(str(path), shown, path.stat().st_size))
                    result.owners.append(index)
            except LakecatError:
                raise
            except _ERRORS as err:
                raise _damaged(file, err) from err
            if len(result.files) == before:
                raise ParseError(
                    f"holds no file that matches {job.options.member!r}",
                    where=Where(file.shown),
                    hint="say which members are meant: member: data/*.csv",
                )
    return result


def _facts(members: Mapping[str, int]) -> dict[str, str | int]:
    """For the lineage: how many members were read, and their rows where that is no long list."""
    facts: dict[str, str | int] = {"member_count": len(members)}
    if len(members) <= _LISTED:
        facts["members"] = json.dumps(members, ensure_ascii=False)
    return facts


def _hash(file: JobFile) -> str:
    raw = RawFile(file.path, file.shown, file.size)
    try:
        return raw.finish()
    finally:
        raw.close()


def _unpacked(options: FilesOptions, file: JobFile, folder: Path, index: int) -> Iterator[tuple[_Member, Path]]:
    kind = file_archive(options, file.shown)
    budget = _Budget(file)
    members = _zip_members(file) if kind == "zip" else _tar_members(file, folder / f"{index}.tar", budget)
    seen: set[str] = set()
    for number, member in enumerate(members):
        if number >= MAX_MEMBERS:
            raise ParseError(f"holds more than {MAX_MEMBERS} files", where=Where(file.shown))
        if not fnmatch.fnmatchcase(member.name, options.member) and not fnmatch.fnmatchcase(
            member.name.rpartition("/")[2], options.member
        ):
            continue
        if member.name.rpartition("/")[2].startswith("."):
            continue
        _refuse_member(options, file, member.name, seen)
        path = folder / f"{index}-{number}"
        with member.open() as source, path.open("xb") as sink:
            budget.copy(iter(lambda source=source: source.read(_CHUNK), b""), sink)  # type: ignore[misc]
        yield member, path


def _refuse_member(options: FilesOptions, file: JobFile, name: str, seen: set[str]) -> None:
    plain = posixpath.normpath(name)
    if plain in seen:
        raise ParseError(f"holds {excerpt(plain)} twice", where=Where(file.shown), hint="have the archive packed anew")
    seen.add(plain)
    if file_archive(options.model_copy(update={"archive": "auto"}), name) != "none":
        raise ParseError(
            f"holds an archive, {excerpt(name)}",
            where=Where(file.shown),
            hint="archives in archives are not unpacked: do that first, or leave it out by member:",
        )


@dataclass(slots=True)
class _Budget:
    """How much may come out of one archive: 500 times its size, at least 16 MiB, at most 64 GiB."""

    file: JobFile
    left: int = -1

    def copy(self, chunks: Iterator[bytes], sink: IO[bytes]) -> None:
        """Write everything. Raises ParseError when it is too much."""
        if self.left < 0:
            self.left = min(max(self.file.size * MAX_RATIO, _SMALL), MAX_BYTES)
        for data in chunks:
            self.left -= len(data)
            if self.left < 0:
                raise ParseError(
                    f"unpacks to more than {MAX_RATIO} times its size, or more than {MAX_BYTES >> 30} GiB",
                    where=Where(self.file.shown),
                    hint="unpack it first if it is what it should be",
                )
            sink.write(data)
            progress()


def _zip_members(file: JobFile) -> Iterator[_Member]:
    with zipfile.ZipFile(file.path) as archive:
        infos = archive.infolist()
        _refuse_neighbours(file, infos)
        for info in infos:
            _refuse_path(file, info.filename)
            mode = info.external_attr >> 16
            if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _odd(file, info.filename, "is a link or a device")
            if info.flag_bits & 1:
                raise _odd(file, info.filename, "is encrypted")
        for info in infos:
            if not info.is_dir():
                yield _Member(info.filename, lambda info=info: archive.open(info))  # type: ignore[misc]


def _refuse_neighbours(file: JobFile, infos: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse what stands before and behind the archive, such as another one: its members would not be seen."""
    with Path(file.path).open("rb") as source:
        head = source.read(len(_LOCAL))
        source.seek(-min(file.size, _END_BYTES + _MAX_COMMENT), os.SEEK_END)
        tail = source.read()
    end = tail.rfind(_END)
    (comment,) = struct.unpack_from("<H", tail, end + _END_BYTES - 2)
    if end + _END_BYTES + comment != len(tail):
        raise _goes_on(file, "after its end")
    if head == _LOCAL and infos and min(info.header_offset for info in infos) > 0:
        raise _goes_on(file, "before its start")


def _goes_on(file: JobFile, where: str) -> ParseError:
    return ParseError(
        f"holds something {where}, perhaps another archive",
        where=Where(file.shown),
        hint="deliver each archive as a file of its own",
    )


def _tar_members(file: JobFile, plain: Path, budget: _Budget) -> Iterator[_Member]:
    path = _without_compression(file, plain, budget)
    with tarfile.open(path, "r:") as archive:
        for info in archive:
            _refuse_path(file, info.name)
            if info.isdir():
                continue
            if not info.isreg() or info.issparse():
                raise _odd(file, info.name, "is a link, a device or a sparse file")
            yield _Member(info.name, lambda info=info: _opened(archive, info))  # type: ignore[misc]
        end = archive.offset
    with Path(path).open("rb") as source:
        source.seek(end)
        if source.read(_BLOCK) != bytes(_BLOCK):  # the library takes a damaged header for the end
            raise ParseError(
                "does not end like a tar archive",
                where=Where(file.shown),
                hint="get the file again: it may be damaged or cut off",
            )
        while rest := source.read(_CHUNK):
            if rest.strip(b"\0"):
                raise _goes_on(file, "after its end")


def _opened(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    source = archive.extractfile(info)
    if source is None:
        raise tarfile.ReadError("no data")
    return source


def _without_compression(file: JobFile, plain: Path, budget: _Budget) -> str:
    with Path(file.path).open("rb") as source:
        head = source.read(8)
    compression: Compression | None = next((name for magic, name in MAGICS if head.startswith(magic)), None)
    if compression is None:
        return file.path
    raw = RawFile(file.path, file.shown, file.size)
    try:
        with plain.open("xb") as sink:
            _Budget(budget.file).copy(decompressed(raw, compression), sink)
    finally:
        raw.close()
    return str(plain)


def _refuse_path(file: JobFile, name: str) -> None:
    parts = name.split("/")
    unsafe = name.startswith("/") or ".." in parts or "\\" in name or _DRIVE.match(name)
    if unsafe or any(ord(character) < 32 for character in name):
        raise _odd(file, name, "has a path that leads out of the archive")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise _odd(file, ascii(name), "has a name that is not UTF-8") from None


def _odd(file: JobFile, name: str, what: str) -> ParseError:
    return ParseError(
        f"its member {excerpt(name)} {what}", where=Where(file.shown), hint="have the archive packed anew, or unpack it"
    )


def _damaged(file: JobFile, err: Any) -> ParseError:
    return ParseError(
        f"is not a sound archive ({str(err)[:80] or type(err).__name__})",
        where=Where(file.shown),
        hint="get the file again: it may be damaged or cut off",
    )
