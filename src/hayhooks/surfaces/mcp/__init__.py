"""The Model Context Protocol: every deployment is a tool. Nothing is imported here: the SDK is an extra, and slow."""
