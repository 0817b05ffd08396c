"""Limits what HTTP clients can cause in the process that carries calls, and ends that process without cutting calls."""
