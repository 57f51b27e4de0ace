"""Drawings of the report, one family a file."""
