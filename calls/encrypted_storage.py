"""
Encrypts stored files at rest: a storage (Django's word for where files are) around another one.

Each file has a key of its own, derived from the operator's key and a random salt, and is encrypted in chunks with
AES-256-GCM. A chunk is bound to its place, and the last one to being the last: a file that was changed, reordered or
cut off is not read. A part of a file is read without the rest.

    header: magic (8 bytes), id of the operator's key (8), salt (32)
    chunk:  up to 64 KiB of the content, encrypted, with a tag of 16 bytes behind it
"""

import hashlib
import io
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import IO, Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.core.files import File
from django.core.files.storage import Storage
from django.core.files.storage.handler import StorageHandler

from calls.errors import CallsError
from calls.made_while_read import MadeWhileRead

CHUNK = 1 << 16
"""Bytes of content in a chunk: what is decrypted for the smallest part, 0.05 ms, against 0.02 % of tags."""
TAG = 16
_MAGIC = b"CCcrypt\x01"
"""No WAV file begins with it: a file that does not either was stored before there were keys, and is read as it is."""
_ID_BYTES = 8
_SALT_BYTES = 32
HEADER_BYTES = len(_MAGIC) + _ID_BYTES + _SALT_BYTES


class UnreadableFileError(CallsError):
    """A stored file cannot be decrypted: its key is not among ``RECORDING_KEYS``, or it is damaged."""

    def __init__(self, message: str) -> None:
        # Not permanent: the operator can put the key or the file back.
        super().__init__(message, permanent=False, code="recording-unreadable")


class EncryptedStorage(Storage):
    """
    Keeps files encrypted in another storage.

    ``keys`` are of 32 bytes. The first one encrypts; each decrypts the files that were encrypted with it. Without any
    key, files are stored as they are. ``storage`` describes the other storage, as an entry of ``STORAGES`` does.
    """

    def __init__(self, *, keys: Sequence[bytes] = (), storage: dict[str, Any] | None = None) -> None:
        self.keys = {key_id(key): key for key in keys}
        """The keys by their ids; the first one encrypts."""
        self._inner: Storage = StorageHandler().create_storage(
            storage or {"BACKEND": "django.core.files.storage.FileSystemStorage"}
        )

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        if mode != "rb":
            raise ValueError(f"Files of this storage are opened to be read, not in mode {mode!r}.")
        inner = self._inner.open(name, "rb")
        try:
            header = inner.read(HEADER_BYTES)
            if not header.startswith(_MAGIC):
                inner.seek(0)
                return inner
            return _OpenFile(_Decrypted(inner, header, self.keys, name), name)
        except BaseException:
            inner.close()
            raise

    def _save(self, name: str, content: "File[bytes]") -> str:
        if not self.keys:
            return self._inner.save(name, content)
        key = next(iter(self.keys.values()))
        with tempfile.TemporaryFile() as encrypted:
            _encrypt(content, encrypted, key)
            encrypted.seek(0)
            return self._inner.save(name, File(encrypted, name))

    @property
    def first_key_id(self) -> bytes | None:
        """The id of the key that encrypts; None if there is none."""
        return next(iter(self.keys), None)

    def key_id_of(self, name: str) -> bytes | None:
        """The id of the key with which a file is encrypted; None if it is stored as it is."""
        with self._inner.open(name, "rb") as inner:
            header = inner.read(HEADER_BYTES)
        return header[len(_MAGIC) :][:_ID_BYTES] if header.startswith(_MAGIC) else None

    def size(self, name: str) -> int:
        """The bytes of the content, not of the encrypted file."""
        with self._inner.open(name, "rb") as inner:
            is_encrypted = inner.read(len(_MAGIC)) == _MAGIC
        size = self._inner.size(name)
        return content_bytes(size) if is_encrypted else size

    def path(self, name: str) -> str:
        """The file on this machine, if it is not encrypted: programs that open a path would read it as it is."""
        if self.keys:
            raise NotImplementedError("This storage encrypts its files, so they have no path that could be opened.")
        return self._inner.path(name)

    def delete(self, name: str) -> None:
        self._inner.delete(name)

    def exists(self, name: str) -> bool:
        return self._inner.exists(name)

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        return self._inner.listdir(path)

    def url(self, name: str | None) -> str:
        return self._inner.url(name)

    def get_created_time(self, name: str) -> datetime:
        return self._inner.get_created_time(name)

    def get_modified_time(self, name: str) -> datetime:
        return self._inner.get_modified_time(name)


def key_id(key: bytes) -> bytes:
    """The name of a key in the files that are encrypted with it; it tells nothing about the key."""
    return hashlib.sha256(b"client-caller key id" + key).digest()[:_ID_BYTES]


def content_bytes(stored_bytes: int) -> int:
    """The bytes of content in an encrypted file of this size."""
    body = max(stored_bytes - HEADER_BYTES, 0)
    return max(body - TAG * -(-body // (CHUNK + TAG)), 0)


def find_key(keys: Mapping[bytes, bytes], header: bytes, name: str) -> bytes:
    """The key of the file with this header, of ``keys`` by their ids. Raises ``UnreadableFileError``."""
    key = keys.get(header[len(_MAGIC) :][:_ID_BYTES]) if len(header) == HEADER_BYTES else None
    if key is None:
        raise UnreadableFileError(
            f"{name} is encrypted with a key that is not among RECORDING_KEYS. Add that key behind the others."
        )
    return key


def make_salt() -> bytes:
    """The salt of a new file, the last part of its header."""
    return secrets.token_bytes(_SALT_BYTES)


def make_cipher(key: bytes, header: bytes) -> AESGCM:
    """The cipher of the file with this header."""
    return AESGCM(HKDF(SHA256(), 32, salt=header[-_SALT_BYTES:], info=_MAGIC).derive(key))


def _nonce(number: int, *, is_last: bool) -> bytes:
    # The key serves one file only, so the place of a chunk makes its nonce unique.
    return number.to_bytes(11, "big") + bytes([is_last])


def _encrypt(content: IO[bytes] | File[bytes], out: IO[bytes], key: bytes) -> None:
    header = _MAGIC + key_id(key) + make_salt()
    cipher = make_cipher(key, header)
    out.write(header)
    content.seek(0)
    number, chunk = 0, _read_chunk(content)
    while True:
        following = _read_chunk(content)
        out.write(cipher.encrypt(_nonce(number, is_last=not following), chunk, header))
        if not following:
            return
        number, chunk = number + 1, following


def _read_chunk(content: IO[bytes] | File[bytes]) -> bytes:
    chunk = b""
    while len(chunk) < CHUNK and (more := content.read(CHUNK - len(chunk))):
        chunk += more
    return chunk


class _Decrypted(MadeWhileRead):
    """The content of an encrypted file, decrypted chunk by chunk as it is read."""

    def __init__(self, inner: "File[bytes]", header: bytes, keys: dict[bytes, bytes], name: str) -> None:
        super().__init__()
        self._inner, self._header, self.name = inner, header, name
        if len(header) < HEADER_BYTES:
            raise self._damaged()
        self._cipher = make_cipher(find_key(keys, header, name), header)
        stored = inner.seek(0, io.SEEK_END)
        self.size = content_bytes(stored)
        self._last = max(-(-(stored - HEADER_BYTES) // (CHUNK + TAG)) - 1, 0)
        """The number of the last chunk."""
        self._number = -1
        """The number of the chunk that was decrypted last, and its content."""
        self._chunk = b""
        # Only the last chunk tells that nothing is missing behind it.
        self._load(self._last)

    def _piece_at(self, position: int) -> bytes:
        number, at = divmod(position, CHUNK)
        self._load(number)
        return self._chunk[at:]

    def close(self) -> None:
        if not self.closed:
            self._inner.close()
        super().close()

    def _load(self, number: int) -> None:
        if number == self._number:
            return
        self._inner.seek(HEADER_BYTES + number * (CHUNK + TAG))
        encrypted = self._inner.read(CHUNK + TAG)
        try:
            self._chunk = self._cipher.decrypt(_nonce(number, is_last=number == self._last), encrypted, self._header)
        except (InvalidTag, ValueError) as error:
            raise self._damaged() from error
        self._number = number

    def _damaged(self) -> UnreadableFileError:
        return UnreadableFileError(
            f"{self.name} is damaged: it was changed or cut off after it was encrypted. Restore it from a backup."
        )


class _OpenFile(File[bytes]):
    """An open encrypted file. Its size is that of the content."""

    def __init__(self, content: _Decrypted, name: str) -> None:
        super().__init__(io.BufferedReader(content, CHUNK), name)
        self._size = content.size

    @property
    def size(self) -> int:
        return self._size
