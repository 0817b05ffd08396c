"""What was said, as it was heard."""

from __future__ import annotations

from media.turns import commands as cmd
from media.turns.options import ConversationOptions
from tests.media.turns.phone import REPLY, Phone


def test_words_put_aside_are_in_order_when_the_caller_interrupts_after_them():
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_says("Sunday", start=0.5, end=0.75)
    phone.caller_says("no I meant the other office", start=2.5, end=4.0)
    phone.wait_until(9.0)
    assert phone.sent(cmd.StartReply)[-1].history[1:] == (cmd.Line("caller", "Sunday no I meant the other office"),)
