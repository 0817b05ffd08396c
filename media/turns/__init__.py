"""
Turn taking for one phone call: pure decisions, told what happened and when.

Nothing here reads a clock, awaits or imports anything but the standard library. ``Conversation`` is
the way in; ``media.session`` is the shell that feeds it and obeys it.
"""
