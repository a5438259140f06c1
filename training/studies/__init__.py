"""Studies: what the recipes do on two CPU cores, against what their papers claim."""
