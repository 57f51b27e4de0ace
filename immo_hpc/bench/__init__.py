"""Measured speed, with the limits beside it."""
