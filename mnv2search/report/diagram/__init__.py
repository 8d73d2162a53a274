"""Block diagrams of networks: boxes, their places, and the drawings as SVG and PNG."""
