"""What fills the topics: event logs, data sets, synthetic users with known drift."""
