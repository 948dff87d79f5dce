"""Pipelines described once (pipeline.yaml), and rendered to what runs them."""
