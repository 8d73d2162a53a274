"""How one runtime loads and calls a network; one module each."""
