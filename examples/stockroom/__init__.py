"""A small stockroom: keeps stock in SQLite, reads suppliers' price lists, tells a shop about changes."""
