"""Helpers that several test folders share: events by hand, histories by chance, and an oracle that counts by brute force."""
