"""Tables of what is going on."""
