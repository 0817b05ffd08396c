"""
Encrypts the sound of a call while it is recorded: a file in the spool to which seconds are written in any order.

A recording changes its last seconds again and again, until it is certain what the caller heard. Each second is
therefore encrypted by itself, with AES-256-GCM and a new nonce each time, in a slot of its own that is overwritten in
its place. A file has a key of its own, derived as those of stored recordings are.

    header: magic (8 bytes), id of the operator's key (8), salt (32)
    slot:   nonce (12), a second of stereo PCM or the part of it that there is, encrypted, with a tag of 16 bytes
"""

import logging
import secrets
from collections.abc import Mapping
from typing import IO

from cryptography.exceptions import InvalidTag

from calls.encrypted_storage import HEADER_BYTES, TAG, find_key, key_id, make_cipher, make_salt

logger = logging.getLogger(__name__)

MAGIC = b"CCsound\x01"
"""No WAV file begins with it."""
FRAME_BYTES = 4
SECOND_BYTES = 8000 * FRAME_BYTES
"""16-bit stereo PCM at 8 kHz."""
_NONCE_BYTES = 12
_SLOT_BYTES = _NONCE_BYTES + SECOND_BYTES + TAG


class SoundSealer:
    """Encrypts one file. Used by one thread at a time."""

    def __init__(self, key: bytes) -> None:
        self.header = MAGIC + key_id(key) + make_salt()
        """The beginning of the file."""
        self._cipher = make_cipher(key, self.header)

    def seal(self, second: int, pcm: bytes) -> tuple[int, bytes]:
        """Where a second's PCM is written, and what."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, pcm, second.to_bytes(8, "big"))
        return HEADER_BYTES + second * _SLOT_BYTES, sealed


def is_sealed(beginning: bytes) -> bool:
    """Whether a file that begins so was written by ``SoundSealer``."""
    return beginning.startswith(MAGIC)


def has_sound(file_bytes: int) -> bool:
    """Whether a sealed file of this size has any sound."""
    return _frames_in(file_bytes) > 0


def _frames_in(file_bytes: int) -> int:
    full, rest = divmod(max(file_bytes - HEADER_BYTES, 0), _SLOT_BYTES)
    return (full * SECOND_BYTES + max(rest - _NONCE_BYTES - TAG, 0)) // FRAME_BYTES


class SealedSound:
    """
    The PCM of a sealed file. A second that was being written when its process died is silent.

    ``keys`` are those of ``RECORDING_KEYS`` by their ids. Raises ``UnreadableFileError`` if the file's is missing.
    """

    def __init__(self, file: IO[bytes], keys: Mapping[bytes, bytes], name: str) -> None:
        self._file = file
        self._name = name
        header = file.read(HEADER_BYTES)
        self._cipher = make_cipher(find_key(keys, header, name), header)
        self.frames = _frames_in(file.seek(0, 2))

    def read(self, frame: int, count: int) -> bytes:
        """The frames from ``frame`` on: ``count`` of them, or as many as there are in that second."""
        second, within = divmod(frame * FRAME_BYTES, SECOND_BYTES)
        self._file.seek(HEADER_BYTES + second * _SLOT_BYTES)
        slot = self._file.read(_SLOT_BYTES)
        try:
            pcm = self._cipher.decrypt(slot[:_NONCE_BYTES], slot[_NONCE_BYTES:], second.to_bytes(8, "big"))
        except (InvalidTag, ValueError):
            logger.warning("Second %d of %s cannot be decrypted: it is silent", second, self._name)
            pcm = bytes(max(len(slot) - _NONCE_BYTES - TAG, 0))
        return pcm[within : within + count * FRAME_BYTES]
