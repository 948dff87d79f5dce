"""The engine: what is seen becomes keys in a queue, and one function takes each key from what is to what is wanted."""
