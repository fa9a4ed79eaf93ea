"""Unit tests do no I/O, integration tests run one part with real servers, e2e tests run the three processes."""
