"""Stores: where bundles are kept and live versions remembered."""
