"""Recognition by Deepgram: its account and models, and its two protocols, without I/O."""
