"""A server to try: a real pipeline that answers questions about Hayhooks, with no key and no internet."""
