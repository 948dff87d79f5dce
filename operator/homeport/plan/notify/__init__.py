"""What is told of what happens, when, and in which words. Pure."""
