"""Genesys Cloud: conversations and agents as EventBridge puts them into a queue of SQS, or as the notification service tells.

Either way a conversation's story is told anew with everything that comes of it.
"""
