"""Encrypts recordings that are still being made, if stored ones are encrypted."""

from calls.encrypted_storage import EncryptedStorage
from calls.models import Call
from calls.sealed_sound import SoundSealer, has_sound, is_sealed

__all__ = ["has_sound", "is_sealed", "make_sealer"]


def make_sealer() -> SoundSealer | None:
    """What encrypts a new recording in the spool; None if stored recordings are not encrypted either."""
    storage = Call._meta.get_field("recording").storage
    keys = list(storage.keys.values()) if isinstance(storage, EncryptedStorage) else []
    return SoundSealer(keys[0]) if keys else None
