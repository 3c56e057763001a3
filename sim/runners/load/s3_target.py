"""An S3 endpoint that uploads go to, its keys in the environment, and which routes have uploads to send there."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sim.foundation.errors import UsageError
from sim.runners.load.guard import check_url
from sim.runners.load.headers import HIDDEN
from sim.runners.load.messages import uploading_routes

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario

KEY_ID, KEY_SECRET, KEY_TOKEN = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"
"""Environment variables with the keys; the last one may be missing."""

PART_BYTES_MIN = 5 * 2**20
"""Smallest part but the last; boto3 sends none below it, whatever it is asked for."""


@dataclass(frozen=True)
class S3Target:
    """A bucket behind an S3 endpoint.

    Attributes
    ----------
    endpoint : str
        ``https://HOST``.
    bucket : str
        It stands in the path of every request, never in the host's name.
    """

    endpoint: str
    bucket: str

    def __str__(self) -> str:
        return f"{self.endpoint}/{self.bucket}"

    def keys(self, environment: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the arguments of a client that hold the keys.

        Raises
        ------
        UsageError
            A variable is not set.
        """
        variables = os.environ if environment is None else environment
        for name in (KEY_ID, KEY_SECRET):
            if not variables.get(name):
                raise UsageError(f"s3={self}: environment variable {name} must be set")
        found = {"aws_access_key_id": variables[KEY_ID], "aws_secret_access_key": variables[KEY_SECRET]}
        return {**found, "aws_session_token": variables[KEY_TOKEN]} if variables.get(KEY_TOKEN) else found

    def hide(self, text: str, environment: Mapping[str, str] | None = None) -> str:
        """Return *text* without the keys."""
        for key in self.keys(environment).values():
            text = text.replace(key, HIDDEN)
        return text


@dataclass(frozen=True)
class UploadTerms:
    """How a route uploads.

    Attributes
    ----------
    category : str
        Name of the bucket's instance, which the time of an upload is attributed to.
    part_bytes : int
        Size of a part; 0: an upload is sent at once.
    parallel_parts : int
    """

    category: str
    part_bytes: int
    parallel_parts: int


def parse_s3(url: str) -> S3Target:
    """Read ``https://HOST/BUCKET``.

    Raises
    ------
    UsageError
        It has another form.
    """
    try:
        parts = urlsplit(url)
        bucket, is_plain = parts.path.strip("/"), not (parts.query or parts.fragment or "@" in url)
    except ValueError:
        bucket, is_plain = "", False
    if not is_plain or not parts.hostname or not bucket or "/" in bucket:
        shown = "..." if "@" in url or "?" in url else repr(url)  # What stands there may be a secret.
        raise UsageError(f"s3={shown} must be https://HOST/BUCKET (docs/LOAD_TEST.md)")
    return S3Target(f"{parts.scheme}://{parts.netloc}", bucket)


def upload_terms(scenario: "Scenario") -> dict[str, UploadTerms]:
    """Return how each route uploads that sends its request's bytes into exactly one R2 bucket."""
    found = {}
    for name in uploading_routes(scenario):
        tables = list(_buckets(scenario, name))
        if len(tables) == 1 and scenario.routes[name].socket is None:
            found[name] = tables[0]
    return found


def _buckets(scenario: "Scenario", route: str) -> Iterator[UploadTerms]:
    for operation in scenario.operations[route]:
        name, _, what = operation.partition(".")
        instance = scenario.system.instances[name]
        if instance.component.name == "r2" and instance.component.operations[what].uploads:
            yield UploadTerms(name, instance.table.part_bytes, instance.table.parallel_parts)


def check_s3(target: S3Target, terms: Mapping[str, UploadTerms], *, allow_hosts: tuple[str, ...]) -> None:
    """Refuse what can be refused before the first packet.

    Parameters
    ----------
    target : S3Target
    terms : mapping of str to UploadTerms
        Of the routes that are played.
    allow_hosts : tuple of str

    Raises
    ------
    UsageError
        A host that may not be loaded, no upload to send, parts that are too small, keys or boto3 missing.
    """
    check_url(target.endpoint, allow_hosts=allow_hosts)
    if not terms:
        raise UsageError(f"s3={target} needs a route whose request is an upload (body = size_bytes) into one R2 bucket")
    for one in terms.values():
        if 0 < one.part_bytes < PART_BYTES_MIN:
            rule = f"must be 0 or >= {PART_BYTES_MIN} for S3, which takes no smaller part"
            raise UsageError(f"system.{one.category}.part_bytes={one.part_bytes} {rule}")
    if find_spec("boto3") is None:
        raise UsageError("s3 needs boto3, which is not installed (pip install 'headroom[s3]')")
    target.keys()
