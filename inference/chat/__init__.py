"""
The parts of ``inference/engines/openai_compatible.py``: the prompt, the connection, its events, the filter of a reply's
text, the meaning of refusals, and the slots at the server.
"""
