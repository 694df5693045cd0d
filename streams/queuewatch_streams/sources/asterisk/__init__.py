"""Asterisk's queues, by either of two ways: `queue_log` is what it writes there, `ami` what its manager interface tells.

Neither way knows of the other: a line says afterwards how long something lasted, an event only that it happens.
"""
