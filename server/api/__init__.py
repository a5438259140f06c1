"""The HTTP API, a file for each group of routes. Rule: everything of the wire format stays in this folder."""
