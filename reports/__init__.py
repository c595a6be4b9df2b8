"""Findings and evidence in, documents out: pure functions over data."""
