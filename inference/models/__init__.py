"""The weights of models: which the product knows, how they are fetched and checked, and where an engine finds them."""
