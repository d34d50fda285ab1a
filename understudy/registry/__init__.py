"""Personas and their revisions, adapters on disk and on the Hub, the database."""
