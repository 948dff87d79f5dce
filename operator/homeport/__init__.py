"""Homeport: one control plane for applications, containers and backups on Kubernetes and Proxmox VE."""

__version__ = "0.1.0"
