"""Chaos: a server under load is killed, starved of disk, and told wrong times; what it answers must stay true."""
