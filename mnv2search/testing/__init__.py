"""What plug-ins and tests need: strategies for values, and one contract class for each protocol."""
