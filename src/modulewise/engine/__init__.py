"""Trains one cell."""
