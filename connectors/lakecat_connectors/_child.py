"""The parser process: reads untrusted files, so that a crash or a greedy file harms only itself.

Started by ``_worker``, which runs ``main`` with two inherited descriptors as arguments: CONTROL and PROGRESS.
Requests come as JSON lines on stdin, answers as JSON lines on CONTROL, rows as Arrow IPC streams on stdout.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

import pyarrow as pa

from lakecat.errors import LakecatError, ParseError
from lakecat_connectors._faults import to_message
from lakecat_connectors._formats import reader_for
from lakecat_connectors._job import FILE_INDEX, FormatReader, Job, pack
from lakecat_connectors._limits import limit, progress
from lakecat_connectors._rejects import Rejects
from lakecat_connectors._rejects import to_message as rejects_to_message


class Server:
    """Answers requests until stdin ends."""

    def __init__(self, control: int, place: int, rows: BinaryIO) -> None:
        self._control = os.fdopen(control, "w", encoding="utf-8")
        self._place = place
        self._rows = rows
        self._file = 0
        self._reader: FormatReader | None = None
        self._schema: pa.Schema | None = None
        self._rejects = Rejects()

    def serve(self, requests: BinaryIO) -> None:
        """One answer to each request line."""
        for line in requests:
            progress()
            message = json.loads(line)
            action: Callable[[dict[str, Any]], dict[str, Any]] = {"open": self._open, "stream": self._stream}[
                message["request"]
            ]
            self._answer(self._guarded(action, message))

    def _guarded(self, action: Callable[[dict[str, Any]], dict[str, Any]], message: dict[str, Any]) -> dict[str, Any]:
        try:
            return action(message)
        except LakecatError as err:
            return {"error": to_message(err)}
        except MemoryError:
            return {"error": to_message(ParseError("needs more memory than the parser may use"))}
        except (pa.ArrowException, ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as err:
            return {"error": to_message(ParseError(f"cannot be read ({type(err).__name__})"))}

    def _answer(self, message: dict[str, Any]) -> None:
        self._control.write(json.dumps(message) + "\n")
        self._control.flush()

    def _open(self, message: dict[str, Any]) -> dict[str, Any]:
        self._at_file(0)
        job = Job.from_message(message["job"])
        self._rejects = job.rejects
        self._reader = reader_for(job)
        self._schema = self._reader.open()
        return {"schema": pack(self._schema)}

    def _stream(self, message: dict[str, Any]) -> dict[str, Any]:
        del message
        reader, self._reader = self._reader, None
        if reader is None or self._schema is None:
            raise LookupError("stream before open")
        try:
            with pa.ipc.new_stream(pa.PythonFile(self._rows, mode="w"), self._schema) as writer:
                for batch in reader.batches(self._at_file):
                    writer.write_batch(batch, custom_metadata={FILE_INDEX: str(self._file)})
                    progress()
        finally:
            # Also after an error: the parent reads to the stream's end before it reads the answer.
            self._rows.flush()
        files = [[result.rows, result.sha256, dict(result.facts)] for result in reader.results]
        return {"files": files, "rejected": rejects_to_message(self._rejects.rows())}

    def _at_file(self, index: int) -> None:
        self._file = index
        os.pwrite(self._place, f"{index:<12}".encode(), 0)


def main() -> None:
    """Serve on the descriptors named on the command line; nothing else may write to the row stream."""
    gc.freeze()
    gc.enable()
    limit()
    rows = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    os.dup2(2, 1)
    Server(int(sys.argv[1]), int(sys.argv[2]), rows).serve(sys.stdin.buffer)
