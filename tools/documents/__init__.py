"""The documents that are made of the source: OpenAPI, AsyncAPI, and Grafana's dashboards."""
