"""The published tables and figures beside what this package finds on the same cohorts."""
