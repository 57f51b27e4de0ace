"""Comparing methods: the job, its processes, and what they leave behind."""
