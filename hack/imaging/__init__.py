"""Homeport's own container images: built by their Dockerfiles without a registry, looked into, listed as an SBOM."""
