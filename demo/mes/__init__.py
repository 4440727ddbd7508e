"""A MES order service: orders, their life cycle, and prices that cost CPU time."""
