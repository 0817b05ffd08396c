"""
Turn taking for one phone call: who speaks when, decided without I/O.

``Conversation`` is told what happened and when, and returns what is to be done; ``media.session`` carries it out.
Nothing here reads a clock, awaits, or imports more than the standard library and modules that do not either.
"""
