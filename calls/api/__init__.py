"""The REST API: views that each call one service, with JSON in and out. ``/api/docs/`` documents it."""
