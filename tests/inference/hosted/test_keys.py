"""The keys of accounts, as operators write them."""

from __future__ import annotations

import pytest

from inference.deepgram.account import DeepgramOptions
from inference.engines.cartesia import CartesiaOptions
from inference.engines.deepgram_aura import AuraOptions
from inference.engines.elevenlabs import ElevenLabsOptions
from inference.hosted.keys import checked_key
from inference.types import EngineError


@pytest.mark.parametrize("options", [DeepgramOptions, CartesiaOptions, AuraOptions, ElevenLabsOptions])
def test_a_key_from_a_file_is_used_without_its_line_end(options):
    assert options(api_key=" abc123\n").api_key == "abc123"


@pytest.mark.parametrize("key", ["abc\n123", "abc 123", "abc\x00", "abc…123", "“abc”"])
def test_a_key_that_no_header_can_have_is_refused_and_not_quoted(key):
    with pytest.raises(EngineError, match="copy it again") as raised:
        checked_key(key)
    assert raised.value.permanent
    assert "123" not in str(raised.value)
