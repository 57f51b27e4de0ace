"""Evaluation, imputation scores, attribution, figures and the report."""
