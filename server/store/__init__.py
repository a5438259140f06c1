"""Where responses are kept that a client may ask for again."""
