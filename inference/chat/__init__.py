"""
The parts of ``inference/engines/openai_compatible.py``: the prompt, the connection, the events on it, what their text
may not contain, refusals, and who goes first.
"""
