"""Asterisk's manager interface (AMI): events as they happen over a connection, and lists of who waits and what members do."""
