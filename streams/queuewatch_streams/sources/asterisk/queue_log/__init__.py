"""Asterisk's queue_log: what its lines mean, and how they are read from a file that grows or from a table of a database."""
