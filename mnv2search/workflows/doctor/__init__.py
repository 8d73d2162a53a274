"""The state of the installation and of this machine; nothing heavy is imported."""
