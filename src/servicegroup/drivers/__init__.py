"""The drivers: one file each, found by entry point, never importing one another."""
