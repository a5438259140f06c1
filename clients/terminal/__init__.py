"""`longthink chat`: a server in the terminal, and a view of its runs as they unfold."""
