"""The messages of the application on a media stream, decoded as strictly as by Twilio. Field names are Twilio's."""

from __future__ import annotations

import msgspec


class Payload(msgspec.Struct, forbid_unknown_fields=True):
    payload: bytes  # msgspec decodes base64, strictly


class MarkName(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class AppMedia(msgspec.Struct, tag_field="event", tag="media", forbid_unknown_fields=True):
    streamSid: str
    media: Payload


class AppMark(msgspec.Struct, tag_field="event", tag="mark", forbid_unknown_fields=True):
    streamSid: str
    mark: MarkName


class AppClear(msgspec.Struct, tag_field="event", tag="clear", forbid_unknown_fields=True):
    streamSid: str


AppMessage = AppMedia | AppMark | AppClear
decode = msgspec.json.Decoder(AppMessage).decode
