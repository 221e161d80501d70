"""The parent's end of the parser process: starts it, speaks with it, outlives its crashes."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, cast

import pyarrow as pa

import lakecat
from lakecat.errors import LakecatError, ParseError, Where
from lakecat_connectors._faults import from_message
from lakecat_connectors._job import FILE_INDEX, Batch, FileResult, Job, Outcome, unpack

# Credentials stay with the parent: the process that parses untrusted bytes gets what Python needs to start.
_ENVIRONMENT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "SYSTEMROOT")
_PIPE_BYTES: Final = 1 << 20
# Modules make no garbage that collecting it would be worth a fifth of the start.
_START: Final = "import gc; gc.disable(); from lakecat_connectors._child import main; main()"


class Worker:
    """One parser process, started when needed and again after a crash."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._control: IO[str] | None = None
        self._progress: IO[bytes] | None = None
        self._talk: IO[bytes] | None = None
        self._job: Job | None = None
        self._owner = os.getpid()
        self._clean = True

    @property
    def reusable(self) -> bool:
        """Whether the process lives, is ours, and has answered all that it was asked, without an error."""
        alive = self._process is not None and self._process.poll() is None
        return alive and self._clean and self._owner == os.getpid()

    def open(self, job: Job) -> pa.Schema:
        """Have a slice opened. Raises LakecatError; ParseError when the process dies."""
        self._start()
        self._clean = False
        self._job = job
        return unpack(self._ask({"request": "open", "job": job.to_message()})["schema"])

    def stream(self) -> Iterator[Batch | Outcome]:
        """The opened slice's batches, then one outcome. Raises LakecatError."""
        self._send({"request": "stream"})
        process = self._running()
        try:
            with pa.ipc.open_stream(pa.PythonFile(process.stdout, mode="r")) as reader:
                for batch, metadata in reader.iter_batches_with_custom_metadata():
                    yield Batch(int(metadata[FILE_INDEX]), batch)
        except (pa.ArrowException, OSError) as err:
            raise self._crashed() from err
        answer = self._receive()
        self._clean = True
        yield Outcome(tuple(FileResult(*result) for result in answer["files"]), answer["rejected"])

    def stop(self) -> None:
        """End the process; safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
        for file in (self._control, self._progress, self._talk):
            if file is not None:
                file.close()
        self._control = self._progress = self._talk = None

    def _start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self.stop()
        receiving, sending = os.pipe()
        self._progress = cast("IO[bytes]", tempfile.TemporaryFile())  # noqa: SIM115 - closed by stop()
        self._talk = cast("IO[bytes]", tempfile.TemporaryFile())  # noqa: SIM115 - closed by stop()
        progress = self._progress.fileno()
        command = [sys.executable, "-P", "-c", _START, str(sending), str(progress)]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._talk,
                pass_fds=(sending, progress),
                env=_environment(),
                bufsize=1 << 20,
                start_new_session=True,
            )
        finally:
            os.close(sending)
        self._control = os.fdopen(receiving, encoding="utf-8")
        _widen(self._process)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ParseError("the parser process is not running")
        return self._process

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        self._send(message)
        return self._receive()

    def _send(self, message: dict[str, Any]) -> None:
        pipe = cast("BinaryIO", self._running().stdin)
        try:
            pipe.write(json.dumps(message).encode() + b"\n")
            pipe.flush()
        except OSError as err:
            raise self._crashed() from err

    def _receive(self) -> dict[str, Any]:
        line = self._control.readline() if self._control is not None else ""
        if not line:
            raise self._crashed()
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise self._placed(from_message(answer["error"]))
        return answer

    def _placed(self, error: LakecatError) -> LakecatError:
        """Errors without a place get the file that was being read."""
        if error.where is None:
            error.where = Where(self._current_file())
        return error

    def _current_file(self) -> str:
        files = () if self._job is None else self._job.files
        at = os.pread(self._progress.fileno(), 12, 0) if self._progress is not None else b""
        index = int(at) if at.strip() else 0
        return files[index].shown if index < len(files) else "?"

    def _crashed(self) -> ParseError:
        file = self._current_file()
        code = self._running().wait()
        last_words = self._last_words()
        self.stop()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}{last_words}"
        return ParseError(
            f"the parser process died ({how}) while reading this file",
            where=Where(file),
            hint="the file is malformed in a way that the parser does not survive; get it again or leave it out",
        )

    def _last_words(self) -> str:
        """The last line that the process wrote on its error stream."""
        if self._talk is None:
            return ""
        self._talk.seek(0)
        lines = self._talk.read().decode(errors="replace").strip().splitlines()
        return f", {lines[-1][:200]}" if lines else ""


_idle: list[Worker] = []
_lock = threading.Lock()


def hire() -> Worker:
    """A parser for one connector: an idle one of this process, whose start has been paid for, or a new one."""
    with _lock:
        while _idle:
            worker = _idle.pop()
            if worker.reusable:
                return worker
    return Worker()


def dismiss(worker: Worker) -> None:
    """Keep one idle parser for the next connector; end it when it is in doubt."""
    with _lock:
        if worker.reusable and not _idle:
            _idle.append(worker)
            return
    worker.stop()


@atexit.register
def _stop_idle() -> None:
    with _lock:
        while _idle:
            _idle.pop().stop()


def _widen(process: subprocess.Popen[bytes]) -> None:
    """A roomier pipe for the rows where the system has such a thing (Linux)."""
    resize = getattr(fcntl, "F_SETPIPE_SZ", None)
    if resize is not None and process.stdout is not None:
        with contextlib.suppress(OSError):
            fcntl.fcntl(process.stdout, resize, _PIPE_BYTES)


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    folders = [str(Path(module).resolve().parent.parent) for module in (__file__, str(lakecat.__file__))]
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([*folders, *([inherited] if inherited else [])])
    # NumPy's threads for linear algebra, which nobody asks for any here, spin for a while.
    return {**kept, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
