"""One module a recipe: `Config`, `train`, and the expected result in its docstring."""
