"""What the voices of this machine share: turns between calls, trimming, loudness, phonemes, timing."""
