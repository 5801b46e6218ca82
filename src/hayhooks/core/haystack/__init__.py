"""The only contact with Haystack, in both of its major versions."""
