"""Amazon Connect: contact events over SQS, contact records and agent events over Kinesis.

A contact's story is told anew with every record of it; what an agent does, with every event of his.
"""
