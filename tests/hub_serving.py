"""A minimal inference server around a model repository's `handler.py`, for tests.

It does what the serving toolkit of the Hub does: import `handler.py` from the folder as a lone module, make its
`EndpointHandler(folder)`, call it with the decoded JSON body in a thread of its own, answer 400 and
`{"error": message}` where it raises. `GET /memory` tells the process's memory in bytes, now and at its highest.

    python hub_serving.py FOLDER       # prints its port
"""

import importlib.util
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def load(folder: str) -> object:
    spec = importlib.util.spec_from_file_location("handler.EndpointHandler", Path(folder) / "handler.py")
    sys.path.insert(0, folder)
    module = sys.modules["handler.EndpointHandler"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.EndpointHandler(folder)


def memory() -> dict[str, int]:
    """Resident memory in bytes, now and at its highest since the last call."""
    status = Path("/proc/self/status").read_text()
    found = {name: int(re.search(rf"{name}:\s+(\d+) kB", status).group(1)) * 1024 for name in ("VmRSS", "VmHWM")}
    Path("/proc/self/clear_refs").write_text("5")  # the highest starts anew
    return found


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._reply(200, memory() if self.path == "/memory" else "Ok")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            self._reply(200, self.server.handler(json.loads(body)))
        except Exception as error:
            self._reply(400, {"error": str(error)})

    def _reply(self, status: int, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class _Server(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True


if __name__ == "__main__":
    server = _Server(("127.0.0.1", 0), _Handler)
    server.handler = load(sys.argv[1])
    print(server.server_address[1], flush=True)
    server.serve_forever()
