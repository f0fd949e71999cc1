"""A service that is notified: a local HTTP server that keeps what Apprise's json:// posts to it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Receiver:
    """It listens on a port of its own while it is a context."""

    def __init__(self, *, status: int = 200) -> None:
        """`status`: its answer to everything."""
        self.status = status
        self.got: list[dict[str, Any]] = []
        """The messages that it has accepted."""
        self.asked = 0
        """How many messages it was sent, accepted or not."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.asked += 1
                if receiver.status < 300:
                    receiver.got.append(body)
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://user:geheim@127.0.0.1:{self._server.server_address[1]}/hook"
        """It holds a secret."""

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def titles(self) -> list[str]:
        """The first lines of the messages."""
        return [message["title"] for message in self.got]
