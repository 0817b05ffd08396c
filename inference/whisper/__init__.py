"""Whisper for many calls at once: features while sound comes, batches over calls, and no words out of noise."""
