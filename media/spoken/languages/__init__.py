"""How languages other than English are read aloud: one file for each, and the rules that they share."""
