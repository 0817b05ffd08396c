"""Recordings in a bucket of any store that speaks S3: django-storages, reading a file in pieces and not as a whole."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.files import File

from calls.errors import StorageUnavailableError
from calls.made_while_read import MadeWhileRead

try:
    from boto3.s3.transfer import TransferConfig
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
    from storages.backends.s3 import S3Storage as PlainS3Storage
    from storages.utils import clean_name
except ImportError as error:
    raise ImproperlyConfigured(
        "RECORDINGS_S3_BUCKET is set, but the packages for it are missing. Install requirements/s3.txt."
    ) from error

FIRST_BYTES = 1 << 16
"""Bytes of the request that opens a file: enough for the header, and for the first chunk of an encrypted one."""
PIECE_BYTES = 1 << 18
"""Bytes of each further request, 16 seconds of sound. As much is in memory for each client that reads."""
CONNECT_TIMEOUT, READ_TIMEOUT = 3, 10
"""Seconds. A store that hangs must not keep a thread of the web process for long."""


@contextmanager
def _told_plainly(name: str) -> Iterator[None]:
    """Turn errors of the store into those of Django and of this project."""
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code == "NoSuchKey":
            raise FileNotFoundError(f"The store has no {name}.") from error
        raise StorageUnavailableError(f"The store of recordings refused {name}: {code or error}.") from error
    except BotoCoreError as error:
        raise StorageUnavailableError(f"The store of recordings does not answer: {error}") from error


class S3Storage(PlainS3Storage):  # type: ignore[misc]  # django-storages has no types
    """
    Keeps files in a bucket.

    ``bucket``, ``endpoint`` (empty: Amazon's), ``region``, ``access_key`` and ``secret_key`` (empty: those that the
    machine has, as AWS SDKs find them) say where. Names are never given twice, so that nothing is looked up before a
    file is written.
    """

    def __init__(
        self, *, bucket: str, endpoint: str = "", region: str = "", access_key: str = "", secret_key: str = ""
    ) -> None:
        super().__init__(
            bucket_name=bucket,
            endpoint_url=endpoint or None,
            region_name=region or None,
            access_key=access_key or None,
            secret_key=secret_key or None,
            file_overwrite=True,
            querystring_auth=True,
            default_acl=None,
            transfer_config=TransferConfig(use_threads=False),
            client_config=Config(
                connect_timeout=CONNECT_TIMEOUT,
                read_timeout=READ_TIMEOUT,
                retries={"total_max_attempts": 2, "mode": "standard"},
                signature_version="s3v4",
                # Stores other than Amazon's know buckets by their path, and not each of them the newer checksums.
                s3={"addressing_style": "path" if endpoint else "auto"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        if mode != "rb":
            raise ValueError(f"Files of this storage are opened to be read, not in mode {mode!r}.")
        key = self._normalize_name(clean_name(name))
        return _OpenObject(_Object(self.connection.meta.client, self.bucket_name, key), name)

    def _save(self, name: str, content: "File[bytes]") -> str:
        with _told_plainly(name):
            return str(super()._save(name, content))

    def delete(self, name: str) -> None:
        key = self._normalize_name(clean_name(name))
        # The inherited one does not tell a bucket that is missing from a file that is.
        with suppress(FileNotFoundError), _told_plainly(name):
            self.connection.meta.client.delete_object(Bucket=self.bucket_name, Key=key)

    def exists(self, name: str) -> bool:
        with _told_plainly(name):
            return bool(super().exists(name))

    def listdir(self, name: str) -> tuple[list[str], list[str]]:
        with _told_plainly(name):
            folders, files = super().listdir(name)
        return list(folders), list(files)

    def size(self, name: str) -> int:
        with self.open(name) as file:
            return int(file.size)


class _Object(MadeWhileRead):
    """An object of the store, of which each read asks for a piece."""

    def __init__(self, client: Any, bucket: str, key: str) -> None:
        super().__init__()
        self._client, self._bucket, self.name = client, bucket, key
        self._tag = ""
        self._first = self._get(0, FIRST_BYTES)

    def _get(self, start: int, count: int) -> bytes:
        unchanged = {"IfMatch": self._tag} if self._tag else {}
        with _told_plainly(self.name):
            try:
                answer = self._client.get_object(
                    Bucket=self._bucket, Key=self.name, Range=f"bytes={start}-{start + count - 1}", **unchanged
                )
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") == "InvalidRange" and not start:  # it is empty
                    self.size = 0
                    return b""
                raise
            with answer["Body"] as body:
                piece = bytes(body.read())
        self._tag = answer["ETag"]
        self.size = int(answer["ContentRange"].rpartition("/")[2])
        return piece

    def _piece_at(self, position: int) -> bytes:
        return self._first[position:] or self._get(position, PIECE_BYTES)


class _OpenObject(File[bytes]):
    """An open file of the store."""

    def __init__(self, content: _Object, name: str) -> None:
        super().__init__(io.BufferedReader(content, PIECE_BYTES), name)
        self._size = content.size

    @property
    def size(self) -> int:
        return self._size
