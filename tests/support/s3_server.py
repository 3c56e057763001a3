"""An S3 endpoint on this machine: moto's server in a thread, with one bucket; and one that answers what it is told."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any
from urllib.request import Request, urlopen

import boto3
from moto.server import ThreadedMotoServer

from sim.runners.load.s3_target import KEY_ID, KEY_SECRET

BUCKET = "adapters"
PLANTED = ("planted-id-51c0", "planted-key-77f1")
KEYS = dict(zip((KEY_ID, KEY_SECRET), PLANTED, strict=True))


@contextmanager
def s3_server() -> Iterator[tuple[str, Any]]:
    """The address of a bucket, and a client that sees what is in it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        with urlopen(Request(f"{url}/moto-api/reset", method="POST")):
            pass  # What a server of another test in this process kept is gone.
        names = {name.lower(): value for name, value in KEYS.items()}
        client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **names)
        client.create_bucket(Bucket=BUCKET)
        yield f"{url}/{BUCKET}", client
    finally:
        server.stop()


@contextmanager
def answering(said: bytes, *, stalls: bool = False) -> Iterator[str]:
    """A server that reads heads only: the probe's two requests are answered well, all others with *said*, or never."""
    requests = iter(range(1_000_000))
    stopped = threading.Event()

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            length = 0
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            if next(requests) < 2:
                self.rfile.read(length)
                self.wfile.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
                return
            if stalls:
                stopped.wait(60)
                return
            self.rfile.read(length)
            self.wfile.write(said)

    class Server(ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/{BUCKET}"
        finally:
            stopped.set()
            server.shutdown()
            thread.join()
