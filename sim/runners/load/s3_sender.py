"""Uploads by S3, through boto3: in parts of the scenario's size, so many at a time, each upload in a thread of its own.

An upload that is given up, by its timeout or the end of the run, stops within a fraction of a part, and its multipart
upload is aborted: what nobody completes is stored and billed until it expires (hazard H35). At the end the uploads
that are left over are looked for and aborted, and the objects that the run made are removed.

Sources
-------
S3: multipart uploads, errors 429 and 503 with Retry-After. boto3: ``upload_fileobj`` aborts the multipart upload of a
transfer that fails.
"""

import asyncio
import io
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from sim.foundation.errors import RunnerError
from sim.runners.load.messages import THROTTLING, Answer, Message, retry_after_s
from sim.runners.load.s3_target import S3Target, UploadTerms

UPLOADS_MAX = 64
"""Uploads at a time; one more waits, and the wait counts. Each has a thread, and one for each parallel part."""

SINGLE_BYTES_MAX = 5 * 2**30
"""Longest object that is sent at once."""

CLOSE_S = 30.0
"""Time at the end for what was given up to stop, and for what is left over to be removed."""

PAGE = 1_000
"""Objects that one request removes."""


class GivenUpError(RunnerError):
    """An upload that nobody waits for any more."""


class Repeated(io.RawIOBase):
    """A file of *size_bytes* that repeats a block, without holding it; reading fails once *given_up* is set."""

    def __init__(self, block: memoryview, *, size_bytes: int, given_up: threading.Event) -> None:
        super().__init__()
        self._block = block
        self._size_bytes = size_bytes
        self._given_up = given_up
        self._at = 0

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def seekable(self) -> bool:
        """Whether it can be read from anywhere: yes."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to *offset* from the beginning, the position, or the end."""
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size_bytes}[whence])
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Return up to *size* bytes; all that are left for -1."""
        if self._given_up.is_set():
            raise GivenUpError
        left = max(0, self._size_bytes - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        parts, missing, at = [], wanted, self._at % len(self._block)
        while missing:
            part = self._block[at : at + missing]
            parts.append(part)
            missing, at = missing - len(part), 0
        self._at += wanted
        return b"".join(parts)


@dataclass
class _Counts:
    """What happened, for ``Result.generator``."""

    uploads: int = 0
    given_up_uploads: int = 0
    aborted_uploads: int = 0
    removed_objects: int = 0
    left_objects: int = 0


class S3Sender:
    """Uploads to *target*.

    Parameters
    ----------
    target : S3Target
    terms : mapping of str to UploadTerms
        By route.
    block : memoryview
        Bytes that uploads repeat.
    timeout_s : float
        Of a connection, and of the server's silence.
    uploads_max : int
        Uploads at a time.
    """

    def __init__(
        self,
        target: S3Target,
        *,
        terms: Mapping[str, UploadTerms],
        block: memoryview,
        timeout_s: float,
        uploads_max: int,
    ) -> None:
        self.target = target
        self.terms = terms
        self.block = block
        self.timeout_s = timeout_s
        self.uploads_max = min(uploads_max, UPLOADS_MAX)
        self.counts = _Counts()
        self._threads = ThreadPoolExecutor(self.uploads_max, thread_name_prefix="s3")
        self._running: dict[asyncio.Future[Answer], threading.Event] = {}
        self._keys: set[str] = set()

    async def open(self) -> None:
        """Connect, and prove that the keys may write by an object that is removed at once.

        Raises
        ------
        RunnerError
            The endpoint does not answer, or refuses the keys or the bucket.
        """
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, self._begin)

    async def close(self) -> None:
        """Stop what is under way, and remove what the run left in the bucket."""
        for given_up in self._running.values():
            given_up.set()
        if self._running:
            await asyncio.wait(self._running, timeout=CLOSE_S)
        try:
            if self._keys:
                await asyncio.get_running_loop().run_in_executor(self._threads, self._remove)
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def facts(self) -> dict[str, Any]:
        """Return what happened, for ``Result.generator``."""
        return {f"s3_{name}": number for name, number in vars(self.counts).items()}

    async def send(self, message: Message) -> Answer:
        """Upload one object.

        Returns
        -------
        Answer
            With the status of a refusal; the upload's time is attributed to the bucket.

        Raises
        ------
        ConnectionError
            The endpoint cannot be reached, or its answer is none.
        """
        given_up = threading.Event()
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._threads, self._upload, message, given_up)
        self._running[running] = given_up
        running.add_done_callback(self._ended)
        try:
            answer = await asyncio.shield(running)
        except asyncio.CancelledError:
            given_up.set()  # Its thread goes on until it sees that.
            self.counts.given_up_uploads += 1
            raise
        self.counts.uploads += answer.status < HTTPStatus.MULTIPLE_CHOICES
        return answer

    def _ended(self, running: "asyncio.Future[Answer]") -> None:
        self._running.pop(running, None)
        if not running.cancelled():
            running.exception()  # Of one that was given up, nobody else asks.

    # ------------------------------------------------------------ in threads

    def _begin(self) -> None:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        self._errors = (BotoCoreError, ClientError, ResponseParserError)
        most = max((one.parallel_parts for one in self.terms.values()), default=1)
        config = Config(
            signature_version="s3v4",
            connect_timeout=self.timeout_s,
            read_timeout=self.timeout_s,
            retries={"total_max_attempts": 1},  # Retries are the scenario's.
            max_pool_connections=self.uploads_max * most,
            proxies={},
            s3={"addressing_style": "path"},  # The host is the one that was checked.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        try:
            session = boto3.session.Session(region_name="auto", **self.target.keys())
            self._client = session.client("s3", endpoint_url=self.target.endpoint, config=config)
            self._client.meta.events.register("before-call.s3", _stay)
            probe = {"Bucket": self.target.bucket, "Key": f"headroom-probe-{time.time_ns()}"}
            self._client.put_object(**probe, Body=b"headroom")
            self._client.delete_object(**probe)
        except self._errors as error:
            said = self.target.hide(str(error).splitlines()[0])
            raise RunnerError(f"s3={self.target} does not take an object: {said}") from None

    def _upload(self, message: Message, given_up: threading.Event) -> Answer:
        from boto3.s3.transfer import TransferConfig

        if given_up.is_set():
            raise GivenUpError
        terms = self.terms[message.route]
        config = TransferConfig(
            multipart_threshold=terms.part_bytes or SINGLE_BYTES_MAX,
            multipart_chunksize=terms.part_bytes or SINGLE_BYTES_MAX,
            max_concurrency=terms.parallel_parts,
            use_threads=terms.parallel_parts > 1,
            preferred_transfer_client="classic",
        )
        body = Repeated(self.block, size_bytes=message.upload_bytes, given_up=given_up)
        self._keys.add(message.path)
        began_s = time.perf_counter()
        try:
            self._client.upload_fileobj(
                body, self.target.bucket, message.path, Callback=_stop_if(given_up), Config=config
            )
        except GivenUpError:
            raise
        except self._errors as error:
            return self._refusal(error, given_up)
        took_ms = (time.perf_counter() - began_s) * 1000
        return Answer(200, f"{terms.category};dur={took_ms:.3f}", 0)

    def _refusal(self, error: Exception, given_up: threading.Event) -> Answer:
        """Return the answer of an endpoint that refused; raise for one that gave none."""
        if given_up.is_set():
            raise GivenUpError from None
        about = (getattr(error, "response", None) or {}).get("ResponseMetadata", {})
        status = about.get("HTTPStatusCode", 0)
        if not status:
            raise ConnectionError(self.target.hide(str(error))) from None
        asked = about.get("HTTPHeaders", {}).get("retry-after", "") if status in THROTTLING else ""
        return Answer(status, "", 0, retry_after_s(asked, now_s=time.time()) if asked else 0.0)

    def _remove(self) -> None:
        """Abort uploads that were never completed, and remove objects; only those of this process."""
        bucket = self.target.bucket
        prefix = min(self._keys).partition("/")[0] + "/"
        try:
            for page in self._client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
                for one in page.get("Uploads", ()):
                    if one["Key"] in self._keys:
                        self._client.abort_multipart_upload(Bucket=bucket, Key=one["Key"], UploadId=one["UploadId"])
                        self.counts.aborted_uploads += 1
            keys = sorted(self._keys)
            for start in range(0, len(keys), PAGE):
                named = [{"Key": key} for key in keys[start : start + PAGE]]
                said = self._client.delete_objects(Bucket=bucket, Delete={"Objects": named, "Quiet": True})
                wrong = len(said.get("Errors", ()))
                self.counts.left_objects += wrong
                self.counts.removed_objects += len(named) - wrong
        except self._errors:
            self.counts.left_objects = len(self._keys) - self.counts.removed_objects


def _stay(params: dict[str, Any], **_: Any) -> None:
    """Tell boto3 that a redirect to another region was followed already, so that it looks for none and follows none."""
    params["context"].setdefault("s3_redirect", {})["redirected"] = True


def _stop_if(given_up: threading.Event) -> Callable[[int], None]:
    """Return a callback of progress that stops a part in the middle."""

    def report(_: int) -> None:
        if given_up.is_set():
            raise GivenUpError

    return report
