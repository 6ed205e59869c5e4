"""An S3 store by way of s3fs: how it is opened, and what its errors mean.

Keys and endpoint come from the AWS_ variables (core.storage.settings) or wherever else boto finds them.
The keys must permit to list the bucket, and to get, put and delete objects.
"""

import errno
from collections.abc import Generator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import fsspec

from core.domain.errors import AppError, NotFound, OutOfReach, StorageError

PART_BYTES = 8 * 1024**2
OPTIONS: dict[str, Any] = {
    "use_listings_cache": False,  # other processes write too
    "default_block_size": PART_BYTES,
    "max_concurrency": 4,  # so many parts of a file are in memory at once
    "config_kwargs": {
        "connect_timeout": 5,
        "read_timeout": 30,
        "retries": {"mode": "standard", "total_max_attempts": 2},
    },
}
TRIES = 1  # of s3fs, which are boto's two: a minute with a store that takes a call and says nothing
SLOWEST_BYTES_PER_SECOND = 256 * 1024
_PASSING_CODES = frozenset(("NoSuchUpload", "OperationAborted", "RequestTimeout", "SlowDown"))
_DISK_ERRORS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO))


def open_s3(url: str) -> tuple[Any, str]:
    """Give s3fs's file system, one per process, and the path of ``url`` in it; nothing is asked yet."""
    filesystem, root = fsspec.core.url_to_fs(url, **OPTIONS)
    filesystem.retries = TRIES
    return filesystem, root.rstrip("/")


def upload_seconds(size: int) -> float:
    """Give the time that an upload may take: nothing else notices a server that takes no more bytes."""
    return 120 + size / SLOWEST_BYTES_PER_SECOND


@contextmanager
def spoken_errors(url: str, key: str) -> Generator[None]:
    """Turn whatever s3fs, boto and their transport raise into a sentence.

    Raises:
        NotFound: there is no such key.
        OutOfReach: the store does not answer, or only that it cannot now.
        StorageError: the bucket is missing, or access is refused.
        OSError: as it came, where the fault is this machine's disk.
    """
    from aiohttp import ClientError as TransportError
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except (OSError, TransportError, BotoCoreError, ClientError, ResponseParserError, ValueError) as error:
        if (answer := _answer(error)) is not None:
            raise _answered(url, key, *answer) from error
        if isinstance(error, OSError) and (error.filename is not None or error.errno in _DISK_ERRORS):
            raise
        raise _unanswered(url, key, error) from error


def _answer(error: BaseException | None) -> tuple[int, str, str] | None:
    """Give status, code and message that the store answered with, None where it did not answer."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            fault = response.get("Error", {})
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return status, str(fault.get("Code", "")), str(fault.get("Message", error))
        error = error.__cause__
    return None


def _answered(url: str, key: str, status: int, code: str, message: str) -> AppError:
    reason = f"{code}: {message}"
    if code == "NoSuchBucket":
        return StorageError(f"There is no bucket for {url}. Create it, or correct MASKWRIGHT_BLOBS.")
    if code in _PASSING_CODES or status == HTTPStatus.TOO_MANY_REQUESTS or _is_passing(status):
        return _out_of_reach(url, reason)
    if status == HTTPStatus.NOT_FOUND:
        return missing(key)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return StorageError(
            f"The file store {url} refuses access ({reason}). Check its keys and what they permit."
        )
    return StorageError(f"The file store {url} refused {key} ({reason}).")


def _is_passing(status: int) -> bool:
    lasting = (HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.INSUFFICIENT_STORAGE)
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR and status not in lasting


def _unanswered(url: str, key: str, error: Exception) -> AppError:
    from botocore.exceptions import (
        BotoCoreError,
        CredentialRetrievalError,
        HTTPClientError,
        NoCredentialsError,
    )
    from botocore.exceptions import ConnectionError as NotConnected

    if isinstance(error, FileNotFoundError):
        return missing(key)
    reason = " ".join(str(error).split()) or "it took too long"
    if isinstance(error, NoCredentialsError):
        reason = "there are no keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    is_setting = isinstance(error, (BotoCoreError, ValueError))
    if is_setting and not isinstance(error, (NotConnected, HTTPClientError, CredentialRetrievalError)):
        return StorageError(f"The file store {url} cannot be used ({reason}).")
    return _out_of_reach(url, reason)


def _out_of_reach(url: str, reason: str) -> OutOfReach:
    return OutOfReach(f"The file store {url} does not answer now ({reason}). Try again later.")


def missing(key: str) -> NotFound:
    """Say that a file is gone."""
    return NotFound(f"The file {key} is not there any more.")
