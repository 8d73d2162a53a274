"""The stages of networks as text and JSON: where their cost goes, and what differs between two networks."""
