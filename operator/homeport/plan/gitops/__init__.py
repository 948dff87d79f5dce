"""What a GitSource's repository becomes: objects, their order, what changes, what is left alone. Pure."""
