"""The bodies of requests and answers, with the field names of the API."""
