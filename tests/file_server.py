"""Serves files over HTTP to tests, also incompletely."""

import contextlib
import http.server
import re
import threading
from collections.abc import Iterator


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the server's `content`; `break_after` ends a transfer early, and `ranges` allows resuming it."""

    def do_GET(self):
        server = self.server
        server.asked.append(self.headers.get("Range"))
        body = server.content.get(self.path)
        if body is None:
            self.send_error(404)
            return
        start = int(re.match(r"bytes=(\d+)-$", self.headers.get("Range") or "bytes=0-")[1]) if server.ranges else 0
        if start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start:][: server.break_after])

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving(content: dict[str, bytes]) -> Iterator[http.server.ThreadingHTTPServer]:
    """Yield a server of some files, path -> bytes; its `asked` lists the ranges that were asked for."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.content = content
        server.ranges, server.break_after, server.asked = True, None, []
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
