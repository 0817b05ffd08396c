"""What was said, as it was heard."""

from __future__ import annotations

from media.turns import commands as cmd
from media.turns.history import History
from media.turns.options import ConversationOptions
from tests.media.turns.phone import REPLY, Phone


def test_words_put_aside_come_before_those_of_a_later_interruption():
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_says("Sunday", start=0.5, end=0.75)
    phone.caller_says("no I meant the other office", start=2.5, end=4.0)
    phone.wait_until(9.0)
    assert phone.sent(cmd.StartReply)[-1].history[1:] == (cmd.Line("caller", "Sunday no I meant the other office"),)


def test_what_the_caller_says_in_two_goes_is_one_line():
    history = History(lambda command: None, [cmd.Line("agent", "Hello.")])
    history.add_caller("I would like")
    assert history.with_caller("a table")[-1] == cmd.Line("caller", "I would like a table")
    assert history.lines[-1] == cmd.Line("caller", "I would like")  # nothing was added
    history.add_agent("Yes?")
    history.add_caller("a table")
    assert [line.text for line in history.lines] == ["Hello.", "I would like", "Yes?", "a table"]


def test_it_is_known_who_spoke_last_and_what_they_said():
    history = History(lambda command: None)
    assert (history.caller_spoke_last, history.caller_said_last, history.agent_said_last) == (False, "", "")
    history.add_caller("Hello?")
    assert (history.caller_spoke_last, history.caller_said_last, history.agent_said_last) == (True, "Hello?", "")
    history.add_agent("Good morning.")
    assert (history.caller_spoke_last, history.caller_said_last) == (False, "Hello?")
    assert history.agent_said_last == "Good morning."


def test_words_put_aside_come_after_the_agents_turn():
    history = History(lambda command: None)
    history.put_aside("Sunday")
    history.put_aside("please")
    assert history.answer_owed
    history.add_agent("We open at nine.")
    history.take_up_aside()
    assert not history.answer_owed
    assert history.lines == (cmd.Line("agent", "We open at nine."), cmd.Line("caller", "Sunday please"))


def test_turns_on_record_are_numbered():
    commands: list[cmd.Command] = []
    history = History(commands.append)
    for text in ("Hello?", "Anybody there?"):
        history.record(cmd.TurnEnded(0, "caller", text, text, started=0.0, ended=1.0))
    assert [command.number for command in commands if isinstance(command, cmd.TurnEnded)] == [1, 2]
