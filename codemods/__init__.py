"""Bytes in, findings and rewritten source out: the finder, the fixer and the proof. Knows no database and no CLI."""
