"""Draws a `Graph` as a picture, locally."""

from hayhooks.drawing.png import render_png

__all__ = ["render_png"]
