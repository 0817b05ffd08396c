"""The views of the REST API. Each method reads the request, calls one service, and answers."""
