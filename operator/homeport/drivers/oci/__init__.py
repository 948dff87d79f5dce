"""Container images: from registries, and as archives that Proxmox VE takes for templates."""
