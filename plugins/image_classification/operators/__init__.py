"""Operators: what starts, or finds again, a job that costs money."""
