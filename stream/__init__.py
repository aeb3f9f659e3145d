"""The pure core: events, state, drift, blend, language model, gate; no clock, broker or logger but by injection."""
