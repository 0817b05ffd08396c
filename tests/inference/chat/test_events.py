"""Server-sent events are parsed from bytes that are cut anywhere."""

import json
from codecs import BOM_UTF8

import pytest

from inference.chat.events import EventReader, read_chunk
from tests.inference.model_server import DONE, event


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_events_are_the_same_wherever_the_bytes_are_cut(newline):
    stream = (event("Grüß Gott, 電話 ☎") + b': hi\n\ndata:{"a":\ndata: 1}\n\n' + DONE).replace(b"\n", newline)
    whole = EventReader().feed(stream)
    assert json.loads(whole[0])["choices"][0]["delta"]["content"] == "Grüß Gott, 電話 ☎"
    assert json.loads(whole[1]) == {"a": 1}
    assert whole[2:] == [b"[DONE]"]
    for cut in range(len(stream) + 1):
        reader = EventReader()
        assert reader.feed(stream[:cut]) + reader.feed(stream[cut:]) == whole
    assert EventReader().feed(BOM_UTF8 + stream) == whole
    reader = EventReader()
    assert [payload for byte in stream for payload in reader.feed(bytes([byte]))] == whole


@pytest.mark.parametrize(
    ("payload", "read"),
    [
        (b"[DONE]", ("", "done")),
        (b'{"choices": [{"delta": {"content": "Hi", "role": "assistant"}}]}', ("Hi", "")),
        (b'{"choices": [{"delta": {"content": "."}, "finish_reason": "length"}], "usage": {}}', (".", "length")),
        (b'{"choices": [{"delta": null}]}', ("", "")),
        (b'{"choices": [{"delta": {"reasoning_content": "Hm."}}]}', ("", "")),
        (b'{"choices": []}', ("", "")),
        (b'{"choices": null, "usage": {}}', ("", "")),
    ],
)
def test_the_text_and_the_finish_reason_of_a_chunk_are_read(payload, read):
    assert read_chunk(payload) == read
