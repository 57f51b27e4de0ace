"""Cohorts, preparation, shards, batches and splits; nothing here knows a model."""
