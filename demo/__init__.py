"""The reference workload: a MES order service, its release builder and its load client."""
