"""Shards to a version: composed on the server, with its manifest and its page."""
