"""Backups, planned: when they run, and which of them are kept. Pure."""
