"""A REST API to a table: lakecat's whole ingest against fetching and parsing alone (the limit) and dlt (the peer).

A local server in a process of its own answers with ready-made pages of 1,000 rows: numbers, a decimal, texts, times, a
list and an object in each row, and the next page's URL in the body.

- ``fetch``: httpx2 and ``json.loads`` page by page, and nothing else: no types, no checks, no file;
- ``lakecat``: ``ingest.run_job`` with the ``rest`` connector, up to the commit;
- ``dlt``: its ``rest_api`` source into Parquet files (filesystem destination), the list and the object left as JSON
  text (``max_table_nesting=0``). Give a Python that has ``dlt[parquet]`` with ``--dlt-python`` or in ``DLT_PYTHON``.

Each runs in processes of its own, one after the other, ``--repeat`` times in turn; the least CPU counts. CPU and memory
are those of the whole process tree without the server (memory: the greatest sum of resident sizes, sampled every
20 ms). ``--half`` also runs lakecat over half of the rows, to show that memory does not grow with the pages.

Run: ``python benchmarks/rest_to_table.py [--rows 500000] [--repeat 3] [--half] [--dlt-python PATH]``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from process_tree import INGEST, Measure, measure

SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

rows, size = int(sys.argv[1]), 1000
cities = ["Oslo", "Lima", "Pune", "Köln", "Kyiv", "Cork", "Bern", "Graz"]

def row(n):
    return {
        "id": n,
        "customer": f"customer {n * 7919 % 50_000}",
        "email": f"user{n * 31 % 99_991}@example.com",
        "amount": (n * 104_729 % 1_000_000) / 100,
        "quantity": n % 90,
        "active": n % 3 != 0,
        "created_at": f"2026-{n % 12 + 1:02}-{n % 28 + 1:02}T{n % 24:02}:{n % 60:02}:{n * 7 % 60:02}Z",
        "note": None if n % 5 else "call back " + "x" * (n % 40),
        "tags": [cities[n % 8], cities[n % 5]],
        "address": {"city": cities[n % 7], "zip": f"{n * 17 % 100_000:05}", "floor": n % 12},
    }

pages = [json.dumps([row(n) for n in range(at, min(at + size, rows))]).encode() for at in range(0, rows, size)]

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    def log_message(self, *args): pass
    def do_GET(self):
        query = parse_qs(urlsplit(self.path).query)
        number, last = int(query.get("page", ["1"])[0]), int(query.get("last", [len(pages)])[0])
        port = self.server.server_address[1]
        more = f"http://127.0.0.1:{port}/events?page={number + 1}&last={last}" if number < last else None
        body = b'{"data": ' + pages[number - 1] + b', "next": ' + json.dumps(more).encode() + b"}"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], sum(map(len, pages)), flush=True)
server.serve_forever()
"""

FETCH = """
import json, sys
import httpx2
url, rows = sys.argv[1], 0
with httpx2.Client() as client:
    while url:
        page = json.loads(client.get(url).content)
        rows, url = rows + len(page["data"]), page["next"]
print(rows, "rows")
"""

DLT = """
import os, sys
base, last, out = sys.argv[1:]
os.environ["DESTINATION__FILESYSTEM__BUCKET_URL"] = "file://" + out
os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
import dlt
from dlt.sources.rest_api import rest_api_source
source = rest_api_source(
    {
        "client": {"base_url": base, "paginator": {"type": "json_link", "next_url_path": "next"}},
        "resources": [
            {"name": "events", "endpoint": {"path": "events", "params": {"last": last}, "data_selector": "data"}}
        ],
    },
    max_table_nesting=0,
)
pipeline = dlt.pipeline("bench", pipelines_dir=out + "-work", destination="filesystem", dataset_name="lake")
pipeline.run(source, loader_file_format="parquet", write_disposition="replace")
counts = pipeline.last_trace.last_normalize_info.row_counts
print(counts["events"], "rows")
"""

JOB = """
target: bench.events
mode: replace
connector: rest
options:
  base_url: {base}
  allow_private: true
  resources:
    events:
      path: /events
      params: {{last: {last}}}
      data_path: data
      paginator: {{type: next_url, path: next}}
"""


def run(name: str, base: str, last: int, folder: Path, dlt_python: str | None) -> Measure:
    """One measured run of one contestant in a fresh folder, over the pages up to ``last``."""
    out = folder / f"out-{name}"
    for old in (out, folder / f"out-{name}-work"):
        shutil.rmtree(old, ignore_errors=True)
    if name == "fetch":
        return measure([sys.executable, "-c", FETCH, f"{base}/events?last={last}"])
    if name == "lakecat":
        (out / "ingest").mkdir(parents=True)
        (out / "lakecat.yaml").write_text("project: bench\n")
        (out / "ingest" / "events.yaml").write_text(JOB.format(base=base, last=last))
        return measure([sys.executable, "-c", INGEST, str(out)])
    assert dlt_python is not None
    return measure([dlt_python, "-c", DLT, base, str(last), str(out)])


def contest(base: str, arguments: argparse.Namespace, folder: Path) -> None:
    """All contestants in turn, and their figures."""
    last = -(-arguments.rows // 1000)
    names = ["fetch", "lakecat", *(["dlt"] if arguments.dlt_python else [])]
    best: dict[str, Measure] = {}
    for _ in range(arguments.repeat):
        for name in names:
            found = run(name, base, last, folder, arguments.dlt_python)
            print(f"  {name:8} {found.wall:7.2f} s wall {found.cpu:7.2f} s CPU {found.memory >> 20:6} MiB", flush=True)
            best[name] = min(found, best.get(name, found), key=lambda m: m.cpu)
    if arguments.half:
        half = run("lakecat", base, max(last // 2, 1), folder, None)
        print(f"  lakecat over half of the rows: {half.cpu:.2f} s CPU {half.memory >> 20} MiB")
    limit = best["fetch"]
    print(f"{'':8} {'wall s':>8} {'CPU s':>8} {'rows/CPU s':>11} {'x':>6} {'MiB':>6}   (x: of rows per CPU s)")
    for name, found in best.items():
        pace = arguments.rows / found.cpu
        share = limit.cpu / found.cpu
        print(f"{name:8} {found.wall:8.2f} {found.cpu:8.2f} {pace:11,.0f} {share:6.3f} {found.memory >> 20:6}")


def main() -> None:
    parser = argparse.ArgumentParser(description="A REST API to a table: lakecat, fetching alone, dlt")
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--half", action="store_true", help="lakecat over half of the rows, too")
    parser.add_argument("--dlt-python", default=os.environ.get("DLT_PYTHON"), help="a Python that has dlt[parquet]")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        command = [sys.executable, "-c", SERVER, str(arguments.rows)]
        server = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stack.callback(server.terminate)
        assert server.stdout is not None
        port, size = server.stdout.readline().split()
        print(f"{arguments.rows:,} rows in {int(size) >> 20} MiB of JSON")
        contest(f"http://127.0.0.1:{port}", arguments, folder)


if __name__ == "__main__":
    main()
