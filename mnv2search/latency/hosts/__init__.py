"""How files and a program reach another machine, and how its answers come back; one module a kind of connection."""
