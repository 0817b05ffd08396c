"""What a simulated caller does, written as text: one step on a line."""

from __future__ import annotations

from pathlib import Path

from media.phone.caller import HangUp, Press, Say, Sound, Step, TalkOver, Wait, WaitForAgent
from media.phone.clips import ScriptError


def parse_script(text: str, *, folder: Path = Path()) -> list[Step]:
    """
    Steps from text, one on a line; empty lines and lines beginning with ``#`` are skipped.

        say Hello, is anyone there?
        play recordings/question.wav
        wait 1.5
        wait for agent                 until it has spoken and is quiet again
        wait for agent to start
        talk over 0.8 stop             once it has been speaking for 0.8 s
        talk over 1.2 play hush.wav
        murmur 1.0 mm-hm               the same, not meant to stop it
        press 12#
        hang up

    Relative file names are looked up in ``folder``. A line that makes no sense raises ``ScriptError``.
    """
    steps = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            steps.append(_parse_line(words, folder))
        except ValueError as error:
            raise ScriptError(f"line {number}: {line.strip()!r}: {error}") from error
    return steps


def _parse_line(words: list[str], folder: Path) -> Step:
    match words:
        case ["say", _, *_]:
            return Say(" ".join(words[1:]))
        case ["play", _, *_]:
            return Say(folder / " ".join(words[1:]))
        case ["wait", "for", "agent"] | ["wait", "for", "agent", "to", "finish"]:
            return WaitForAgent()
        case ["wait", "for", "agent", "to", "start"]:
            return WaitForAgent("start")
        case ["wait", seconds]:
            return Wait(_seconds(seconds))
        case ["talk", "over", seconds, _, *_]:
            return TalkOver(_sound(words[3:], folder), _seconds(seconds))
        case ["murmur", seconds, _, *_]:
            return TalkOver(_sound(words[2:], folder), _seconds(seconds), backchannel=True)
        case ["press", keys]:
            if set(keys) - set("0123456789*#ABCD"):
                raise ValueError("keys are 0 to 9, * and #")
            return Press(keys)
        case ["hang", "up"]:
            return HangUp()
        case _:
            raise ValueError("say, play, wait, wait for agent, talk over, murmur, press or hang up?")


def _sound(words: list[str], folder: Path) -> Sound:
    return folder / " ".join(words[1:]) if words[0] == "play" and len(words) > 1 else " ".join(words)


def _seconds(word: str) -> float:
    seconds = float(word)
    if not 0 <= seconds < float("inf"):
        raise ValueError("a number of seconds, please")
    return seconds
