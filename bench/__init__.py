"""Benchmarks: load generators, scenarios and the peers that Hayhooks is measured against."""
