"""Twilio's TaskRouter: its webhook, its Event Streams and its list of events, which tell the same things, doubled and late.

A task's story is told anew with every event of it, and so is a worker's.
"""
