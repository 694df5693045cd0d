"""What is counted, and how: pure functions and state, without clock, environment, network, Kafka or Prometheus."""
