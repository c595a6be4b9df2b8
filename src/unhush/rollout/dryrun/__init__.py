"""Migrations tried on a copy, or in a transaction that is rolled back: what they do, seen from outside."""
