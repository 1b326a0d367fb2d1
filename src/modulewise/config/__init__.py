"""What to run and how; never imports torch."""
