"""The REST API: thin views over ``calls.services``, JSON in and out, documented at ``/api/docs/``."""
