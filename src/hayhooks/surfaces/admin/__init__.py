"""Admin surface: status, deploying, versions, undeploying and drawing."""

from hayhooks.surfaces.admin.surface import CHANGES, PREFIXES, READS, serve

__all__ = ["CHANGES", "PREFIXES", "READS", "serve"]
