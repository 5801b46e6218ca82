"""The servers written for the comparison: a plain FastAPI app and the raw ASGI floor."""
