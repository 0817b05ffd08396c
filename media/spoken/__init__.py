"""Recognises what stands in a text (money, dates, telephone numbers …) and says each of it as a person would."""
