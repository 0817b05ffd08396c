"""A download shows how far it has come, also where there is no terminal."""

from io import StringIO

from rich.console import Console

from inference.models.progress import EVERY, Lines, progress_on


def test_a_pipe_gets_a_line_every_few_seconds():
    out, now = StringIO(), 0.0
    lines = Lines(Console(file=out, width=200), clock=lambda: now)
    lines.begin("model.bin", 0, 10 * 10**6)
    lines.advance(10**6)
    now = EVERY
    lines.advance(2 * 10**6)
    lines.advance(3 * 10**6)
    lines.note("Trying again [in 1 s].")
    lines.end()
    assert out.getvalue().splitlines() == [
        "model.bin, 10.0 MB",
        "model.bin: 2.0 of 10.0 MB",
        "Trying again [in 1 s].",
    ]


def test_a_terminal_gets_a_bar():
    out = StringIO()
    bars = progress_on(Console(file=out, force_terminal=True, width=100))
    bars.begin("model.bin", 0, 100)
    bars.advance(100)
    bars.note("[odd] name")
    bars.end()
    bars.end()
    assert "model.bin" in out.getvalue()
    assert "[odd] name" in out.getvalue()


def test_a_pipe_gets_lines():
    assert isinstance(progress_on(Console(file=StringIO())), Lines)
