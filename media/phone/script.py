"""The text format of scripts for a simulated caller: one step per line."""

from __future__ import annotations

from pathlib import Path

from media.phone.caller import HangUp, Press, Say, Sound, Step, TalkOver, Wait, WaitForAgent
from media.phone.clips import ScriptError


def parse_script(text: str, *, folder: Path = Path()) -> list[Step]:
    """
    Read the steps of a script, one per line. Empty lines and lines that begin with ``#`` are skipped.

        say Hello, is anyone there?
        play recordings/question.wav
        wait 1.5
        wait for agent                 until it has spoken and is quiet again
        wait for agent to start
        talk over 0.8 stop             once the agent has been speaking for 0.8 s
        talk over 1.2 play hush.wav
        murmur 1.0 mm-hm               the same, without meaning to stop the agent
        press 12#
        hang up

    Relative file names are looked up in ``folder``. Raises ``ScriptError`` for a line that is not a step.
    """
    steps = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            steps.append(_parse_line(words, folder))
        except ValueError as error:
            raise ScriptError(f"Line {number} of the script, {line.strip()!r}: {error}.") from error
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
            return Wait(_read_seconds(seconds))
        case ["talk", "over", seconds, _, *_]:
            return TalkOver(_read_sound(words[3:], folder), _read_seconds(seconds))
        case ["murmur", seconds, _, *_]:
            return TalkOver(_read_sound(words[2:], folder), _read_seconds(seconds), backchannel=True)
        case ["press", keys]:
            if set(keys) - set("0123456789*#ABCD"):
                raise ValueError("keys are 0 to 9, *, # and A to D")
            return Press(keys)
        case ["hang", "up"]:
            return HangUp()
        case _:
            raise ValueError("a step is say, play, wait, wait for agent, talk over, murmur, press or hang up")


def _read_sound(words: list[str], folder: Path) -> Sound:
    return folder / " ".join(words[1:]) if words[0] == "play" and len(words) > 1 else " ".join(words)


def _read_seconds(word: str) -> float:
    seconds = float(word)
    if not 0 <= seconds < float("inf"):
        raise ValueError("the number of seconds must be 0 or more")
    return seconds
