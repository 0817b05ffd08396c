"""The parts that the engines of hosted services share: sockets, requests, errors."""
