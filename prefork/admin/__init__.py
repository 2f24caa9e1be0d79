"""The process that tells balancers and monitoring how the service is: /livez, /readyz, /status.json, /metrics."""
