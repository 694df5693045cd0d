"""The contract: events, records, topics, metrics and configuration, as data that everything else imports."""
