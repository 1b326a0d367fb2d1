"""modulewise: train deep nets module by module, and compare every way of doing so under one
trainer."""

__version__ = "0.1.0"
