"""Recognises numbers that must not be stored (cards, accounts, social security) in what is said, and takes them out."""
