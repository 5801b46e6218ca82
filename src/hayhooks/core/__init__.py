"""Bundles, deployments, the registry and runs; knows nothing of HTTP, settings or disks."""
