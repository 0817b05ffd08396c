"""What goes wrong at Deepgram: results that come in an unusual way (``edit``), and failing sockets (``intercept``)."""

from __future__ import annotations

import asyncio
from typing import Any


def in_two(message: dict[str, Any]) -> list[Any]:
    """Split a final result: only the second part is marked."""
    words = message.get("channel", {}).get("alternatives", [{}])[0].get("words", [])
    if not message.get("from_finalize") or len(words) < 2:
        return [message]
    cut = words[1]["start"]
    end = message["start"] + message["duration"]
    return [
        results_of(message, words[:1], message["start"], cut, marked=False),
        results_of(message, words[1:], cut, end, marked=True),
    ]


def results_of(message, words, start, end, *, marked, is_final=True, text=None):
    text = " ".join(word["word"] for word in words) if text is None else text
    return {
        **message,
        "start": start,
        "duration": end - start,
        "is_final": is_final,
        "from_finalize": marked,
        "channel": {"alternatives": [{"transcript": text, "confidence": 0.9, "words": words}]},
    }


def words_in(message):
    return message.get("channel", {}).get("alternatives", [{}])[0].get("words", [])


def empty_and_marked_afterwards(message):
    """The words come in a final result, and the mark in an empty one after it."""
    if not message.get("from_finalize"):
        return [message]
    end = message["start"] + message["duration"]
    return [
        results_of(message, words_in(message), message["start"], end, marked=False),
        results_of(message, [], end, end, marked=True),
    ]


def empty_after_worded_interims(message):
    """The final result is empty although an interim one had the words."""
    if not message.get("is_final"):
        return [message]
    end = message["start"] + message["duration"]
    return [
        results_of(message, words_in(message), message["start"], end, marked=False, is_final=False),
        results_of(message, [], message["start"], end, marked=True, text=""),
    ]


def never_marked(message):
    return [{**message, "from_finalize": False}]


def without_the_mark(message):
    return [{name: value for name, value in message.items() if name not in ("from_finalize", "speech_final")}]


def only_interim(message):
    """The answer to Finalize is only an interim result."""
    return [{**message, "is_final": False, "from_finalize": False}]


def surrounded(message):
    """Between messages that are new, strange or broken."""
    strange = [
        {"type": "SpeechStarted", "channel": [0, 1], "timestamp": 0.1},
        {"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": 0.5},
        {"type": "ConfigureFailure", "request_id": "r", "code": "CONFIGURE_INTERNAL_ERROR", "description": "no"},
        {"type": "Weather", "rain": True},
        {"type": None},
        {"type": "Results"},
        {"type": "Results", "channel": None, "start": None, "duration": None, "is_final": None},
        {"type": "Results", "channel": {"alternatives": None}, "is_final": False},
        {"type": "Results", "channel": {"alternatives": [None]}, "is_final": False},
        "[1, 2]",
        "no JSON",
        b"\x00\x01",
    ]
    return [*strange, {**message, "new_field": {"a": [1]}, "entities": None, "channel_index": None}, *strange[:5]]


def nulls(message):
    """Everything that is not needed is null."""
    words = [{**word, "punctuated_word": None, "confidence": None} for word in words_in(message)]
    alternative = {"transcript": " ".join(word["word"] for word in words), "confidence": None, "words": words}
    return [{**message, "metadata": None, "channel": {"alternatives": [alternative, None]}}]


def times_are_null(message):
    return [{**message, "start": None, "duration": None}]


def clock_runs_ahead(message):
    """As if the time of KeepAlive counted."""
    return [{**message, "start": message.get("start", 0) + 100.0}]


def twice(message):
    return [message, message]


def twice_without_times(message):
    """Only the words have times."""
    return [{**message, "start": None, "duration": None}] * 2


def again_with_the_mark(message):
    """The words come in a final result, and again in the one with the mark."""
    if not message.get("from_finalize"):
        return [message]
    return [{**message, "from_finalize": False}, message]


def again_in_a_longer_result(message):
    """The first words come in a final result, and again in one that begins with the same sound."""
    words = words_in(message)
    if not message.get("from_finalize") or len(words) < 2:
        return [message]
    start, end = message["start"], message["start"] + message["duration"]
    return [
        results_of(message, words[:1], start, words[1]["start"], marked=False),
        results_of(message, words, start, end, marked=True),
    ]


def without_duration(message):
    return [{**message, "start": 0, "duration": 0}]


EDITS = [
    in_two,
    empty_and_marked_afterwards,
    empty_after_worded_interims,
    never_marked,
    without_the_mark,
    only_interim,
    surrounded,
    nulls,
    times_are_null,
    clock_runs_ahead,
    twice,
    twice_without_times,
    again_with_the_mark,
    again_in_a_longer_result,
    without_duration,
]


def once(fault, *, when):
    """Do something to the first socket that gets such a message."""
    done = []

    async def intercept(socket, message):
        if done or not when(message):
            return False
        done.append(socket)
        return await fault(socket)

    return intercept


def is_sound(message):
    return isinstance(message, bytes) and len(message) > 160


def is_flush(message):
    return message == {"type": "Finalize"}


async def dies(socket):
    socket.abort()
    return True


async def closes(socket):
    await socket.close(1011, "NET-0000")
    return True


async def reports_an_error(socket):
    await socket.send({"type": "Error", "variant": "SchemaError", "description": "?", "message": "?"})
    return True


async def falls_silent(socket):
    return await asyncio.Event().wait()


async def ignores_it(socket):
    return True
