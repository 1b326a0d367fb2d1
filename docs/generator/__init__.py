"""What the documentation site has beyond the repository's own pages."""
