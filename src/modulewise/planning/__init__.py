"""What is decided before the first job."""
