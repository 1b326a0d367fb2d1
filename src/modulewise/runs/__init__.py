"""What lies in a run's folder, read by one reader."""
