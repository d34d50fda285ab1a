"""The forms that rows of training data come in: recognised, checked, turned into messages."""
