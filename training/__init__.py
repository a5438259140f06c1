"""Makes the checkpoints that the server serves, with the decoders that serve them."""
