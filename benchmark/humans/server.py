"""Serves the page on this machine that shows the images and receives the answers."""

import importlib.resources
import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from benchmark.errors import EnvironmentProblem
from benchmark.humans.sitting import Sitting

MOST_BYTES = 1000  # of an answer


class Server(ThreadingHTTPServer):
    """Serves one sitting to this machine only.

    Its address has a secret part, so that no other page or user can answer.

    Args:
        sitting: The `Sitting`.
        port: The port; 0 for any free one.

    Raises:
        EnvironmentProblem: If the port is taken.
    """

    daemon_threads = True

    def __init__(self, sitting: Sitting, port: int = 0) -> None:
        self.sitting = sitting
        self.secret = secrets.token_urlsafe(12)
        self.lock = threading.Lock()
        self.page = importlib.resources.files(__package__).joinpath("page.html").read_bytes()
        try:
            super().__init__(("127.0.0.1", port), Handler)
        except OSError as error:
            raise EnvironmentProblem(
                f"port {port} cannot be used ({error.strerror}): give another one, port=<number>"
            ) from error

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{self.secret}/"


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of the page."""

    server: Server

    def do_GET(self) -> None:
        if self.path == f"/{self.server.secret}/":
            self.reply(self.server.page, "text/html; charset=utf-8")
        elif self.path == f"/{self.server.secret}/state":
            with self.server.lock:
                self.reply_json(self.server.sitting.state())
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length") or "0"
        is_answer = length.isdecimal() and 0 < int(length) <= MOST_BYTES
        if self.path != f"/{self.server.secret}/answer" or not is_answer:
            self.send_error(404)
            return
        try:
            given = json.loads(self.rfile.read(int(length)))
            number, said_real = int(given["number"]), given["real"]
            milliseconds = float(given["milliseconds"])
            if not isinstance(said_real, bool) or not 0 <= milliseconds < 1e9:
                raise ValueError("not an answer")
        except (KeyError, TypeError, ValueError):
            self.send_error(400)
            return
        with self.server.lock:
            self.server.sitting.answer(number, said_real, milliseconds)
            state = self.server.sitting.state()
        self.reply_json(state)
        if state["done"]:
            threading.Thread(target=self.server.shutdown).start()

    def reply_json(self, content: dict[str, Any]) -> None:
        self.reply(json.dumps(content).encode(), "application/json")

    def reply(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None:
        """Says nothing: the terminal is for the program's own lines."""
