"""Trainable pieces and losses that methods share."""
