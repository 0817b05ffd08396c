"""The bodies of requests and answers. Field names are those of the API; an attribute ``from_`` is its ``from``."""
