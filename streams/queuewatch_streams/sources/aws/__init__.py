"""Amazon's own services, for every vendor that brings its records through them: how they are reached, and as whom; what comes
over a queue (SQS); what comes over a stream (Kinesis)."""
