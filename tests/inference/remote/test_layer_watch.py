"""The silence of a peer means something only while the layer works."""

from inference.remote.layer_watch import PATIENCE, SILENT_AFTER, LayerWatch


def beats(watch: LayerWatch, count: int, *, echo: bool) -> list[bool]:
    found = []
    for _ in range(count):
        if echo:
            watch.echo()
        found.append(watch.beat())
    return found


def test_silence_counts_in_beats_with_an_echo():
    watch = LayerWatch()
    assert beats(watch, 3, echo=True) == [True] * 3
    assert beats(watch, 1, echo=False) == [False]
    assert not watch.silent
    assert beats(watch, 1, echo=True) == [True]


def test_after_an_outage_peers_have_time_to_come_back():
    watch = LayerWatch()
    for outage, patience in ((SILENT_AFTER, SILENT_AFTER), (2 * PATIENCE, PATIENCE)):
        assert beats(watch, outage, echo=False) == [False] * outage
        assert watch.silent
        assert beats(watch, patience, echo=True) == [False] * patience
        assert not watch.silent
        assert beats(watch, 1, echo=True) == [True]
