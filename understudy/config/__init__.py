"""What recipes and settings may say."""
