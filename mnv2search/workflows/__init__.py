"""What each command does from beginning to end, free of the command line."""
