"""What the addresses of the REST API do: each method of a view reads the request, calls one service, and answers."""
