"""Backups and restores, carried out."""
