"""What is measured about answers, each a pure function with an interval."""
