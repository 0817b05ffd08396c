"""Server-sent events are parsed from bytes that are cut anywhere."""

import json
from codecs import BOM_UTF8

import pytest

from inference.chat.events import CallPiece, Chunk, EventReader, read_chunk
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
        (b"[DONE]", Chunk("", "done")),
        (b'{"choices": [{"delta": {"content": "Hi", "role": "assistant"}}]}', Chunk("Hi")),
        (b'{"choices": [{"delta": {"content": "."}, "finish_reason": "length"}], "usage": {}}', Chunk(".", "length")),
        (b'{"choices": [{"delta": null}]}', Chunk()),
        (b'{"choices": [{"delta": {"reasoning_content": "Hm."}}]}', Chunk()),
        (b'{"choices": []}', Chunk()),
        (b'{"choices": null, "usage": {}}', Chunk()),
        (
            b'{"choices": [{"delta": {"tool_calls": [{"index": 1, "function": {"name": "f", "arguments": "{"}}]}}]}',
            Chunk(calls=(CallPiece(1, "f", "{"),)),
        ),
        (
            b'{"choices": [{"delta": {"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}, {}]}}]}',
            Chunk(calls=(CallPiece(0, "f", '{"a":1}'), CallPiece(1, "", ""))),
        ),
        (b'{"choices": [{"delta": {"function_call": {"name": "f"}}}]}', Chunk(calls=(CallPiece(0, "f", ""),))),
    ],
)
def test_the_text_the_calls_and_the_finish_reason_of_a_chunk_are_read(payload, read):
    assert read_chunk(payload) == read
