"""How English is read aloud; American unless the language names another country."""
