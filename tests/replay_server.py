"""A server on loopback that answers from what was recorded: what the catalogues of `stac_replay` and `odata_replay` have in common."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Fault:
    """An answer given instead of the page asked for: once, or to every request within `lasts_s` of the first."""

    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"<html><body>Service Unavailable</body></html>"
    delay_s: float = 0.0
    lasts_s: float = 0.0
    begun: float | None = None


class ReplayHandler(BaseHTTPRequestHandler):
    """Answers without a word in the log; one who does not wait for the answer is no error."""

    protocol_version = "HTTP/1.1"
    content_type = "application/json"

    body: bytes = b""
    """Of a POST."""

    def reply(self) -> None:
        """Answers `self.command` of `self.path`."""
        raise NotImplementedError

    def do_GET(self) -> None:
        self.reply()

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers["Content-Length"]))
        self.reply()

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        try:
            self.send_response(status)
            for name, value in {"Content-Type": self.content_type, **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def fail(self, fault: Fault) -> None:
        time.sleep(fault.delay_s)
        self.answer(fault.status, fault.body, fault.headers)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(handler: type[ReplayHandler]) -> Iterator[str]:
    """Runs the server; its root, without a slash at the end."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
