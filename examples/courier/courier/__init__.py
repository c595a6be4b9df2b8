"""A small service that works through a table of parcels to be sent."""
