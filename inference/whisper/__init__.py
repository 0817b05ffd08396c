"""Whisper for many calls at once: features while sound comes in, batches over calls, no words invented from noise."""
