"""A trained model applied to old or new samples with any set of layers."""
