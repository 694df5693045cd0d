"""The stream side of queuewatch: the pure core, the Faust worker, the exporter and the command line."""
