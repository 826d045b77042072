#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The web server of the demo: GET (with a Range) gives a file, PUT is read, hashed and answered with what came.

    web.py FILE PORT        prints "ready" when it listens, on IPv4 and IPv6
"""
import hashlib
import json
import re
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PIECE = 65536


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def handle_error(self, request, client_address):
        pass  # a client that went away is no news


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        size = self.server.file.stat().st_size
        asked = re.fullmatch(r"bytes=0-(\d+)", self.headers.get("Range", ""))
        left = min(size, int(asked[1]) + 1) if asked else size
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes 0-{left - 1}/{size}")
        self.send_header("Content-Length", str(left))
        self.end_headers()
        with open(self.server.file, "rb") as f:
            self.connection.sendfile(f, 0, left)

    def do_PUT(self):
        left, digest, stall, last = int(self.headers["Content-Length"]), hashlib.sha256(), 0.0, None
        while left:
            data = self.rfile.read1(min(left, PIECE))
            if not data:
                return
            now = time.monotonic()
            stall, last = max(stall, now - (last or now)), now
            digest.update(data)
            left -= len(data)
        answer = json.dumps({"sha256": digest.hexdigest(), "stall": stall}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def main():
    with Server(("::", int(sys.argv[2])), Handler) as server:
        server.file = Path(sys.argv[1])
        print("ready", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
