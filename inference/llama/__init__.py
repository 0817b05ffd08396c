"""The parts of ``inference/engines/llama_cpp.py``: its options, the header of a model file, the server, its places."""
